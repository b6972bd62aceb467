"""What freshness is worth: simple rules on features as of now, and on the same features as of an hour earlier.

    python freshness.py DIR                  recomputes the views in DuckDB (needs `duckdb`)
    python freshness.py DIR --asof BINARY    takes both vectors from `asof history` (needs `duckdb` to count)

DIR is a project made by generate.py. Each rule is "this one feature is above a threshold"; the threshold is the lowest
that alarms on at most FALSE_ALARMS of the honest decisions of the spine, chosen for the fresh and for the old feature
alone. Printed is the share of an attack's transactions that raise the alarm at that price, and the share of attacks
in which at least one does.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

import duckdb

FALSE_ALARMS = 0.001
RULES = [  # attack, view, feature of the view, its name in the service
    ("card_testing", "account_activity", "txn_count_5m", "txn_count_5m"),
    ("card_testing", "account_activity", "merchants_1h", "merchants_1h"),
    ("takeover", "account_activity", "spend_ratio", "spend_ratio"),
    ("takeover", "account_activity", "large_txn_count_1h", "large_txn_count_1h"),
    ("ring", "device_activity", "accounts_10m", "device_accounts_10m"),
    ("ring", "device_activity", "txn_count_10m", "device_txn_count_10m"),
]
# This one leans on no fresh feature: the amount comes with the request, its usual size from the last seven days.
ZSCORE = ("takeover", None, None, "amount_zscore")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--asof", type=Path, help="the asof binary")
    options = parser.parse_args()
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(f"CREATE VIEW labels AS FROM read_parquet('{options.project}/data/labels.parquet')")
    connection.execute(f"CREATE VIEW spine AS FROM read_parquet('{options.project}/spine.parquet')")
    load = from_asof if options.asof else from_duckdb
    load(connection, options)
    honest, fraud = connection.execute("SELECT count(*) FILTER (NOT is_fraud), count(*) FILTER (is_fraud) FROM spine").fetchone()
    print(f"{honest:,} honest and {fraud:,} fraudulent decisions; at most {FALSE_ALARMS:.1%} false alarms for each rule\n")
    print("| attack | rule: above a threshold | transactions caught, fresh | one hour old | attacks caught, fresh | one hour old |")
    print("|---|---|---:|---:|---:|---:|")
    for attack, _, _, feature in [*RULES, ZSCORE]:
        now, now_attacks = caught(connection, attack, feature, "fresh")
        old, old_attacks = caught(connection, attack, feature, "hour_old")
        print(f"| {attack} | `{feature}` | {now:.1%} | {old:.1%} | {now_attacks:.1%} | {old_attacks:.1%} |")


def caught(connection, attack, feature, table):
    """The share of the attack's transactions, and of its attacks, above the threshold; a NULL raises no alarm."""
    threshold = connection.execute(
        f"SELECT quantile_disc(coalesce({feature}, '-inf'::DOUBLE), {1 - FALSE_ALARMS}) FROM {table} WHERE NOT is_fraud"
    ).fetchone()[0]
    return connection.execute(
        f"""SELECT avg(alarm::INT), (SELECT avg(seen::INT) FROM (
              SELECT bool_or(coalesce({feature} > $threshold, false)) AS seen
              FROM {table} JOIN labels USING (transaction_id) WHERE attack = $attack GROUP BY attack_id))
            FROM (SELECT coalesce({feature} > $threshold, false) AS alarm
                  FROM {table} JOIN labels USING (transaction_id) WHERE attack = $attack)""",
        {"threshold": threshold, "attack": attack},
    ).fetchone()


def from_asof(connection, options):
    """`fresh` and `hour_old`: the service over the spine, and over the same spine an hour earlier."""
    with tempfile.TemporaryDirectory() as folder:
        for table, shift in [("fresh", "0"), ("hour_old", "1")]:
            spine, out = f"{folder}/{table}_spine.parquet", f"{folder}/{table}.parquet"
            connection.execute(f"COPY (SELECT * REPLACE (ts - INTERVAL {shift} HOUR AS ts) FROM spine) TO '{spine}'")
            command = [options.asof, "history", options.project, "--service", "fraud_v1", "--spine", spine, "--out", out]
            subprocess.run(command, check=True)
            connection.execute(f"CREATE TABLE {table} AS FROM read_parquet('{out}')")


def from_duckdb(connection, options):
    """The same from the views' own text; the value of an hour ago is the frame moved back by an hour.

    A frame exists only at an event of its view: a decision without one (the country is missing) answers NULL.
    """
    text = (options.project / "features.sql").read_text()
    connection.execute(f"CREATE VIEW transactions AS FROM read_parquet('{options.project}/data/transactions.parquet')")
    for table, hours in [("fresh", 0), ("hour_old", 1)]:
        columns = ", ".join(f"{view[0]}.{inside} AS {name}" for _, view, inside, name in RULES)
        joins = ""
        for view in sorted({rule[1] for rule in RULES}):
            select = moved_back(re.search(rf"CREATE FEATURE VIEW {view} AS(.*?);", text, re.S).group(1), hours)
            select = select.replace("SELECT", "SELECT transaction_id,", 1)
            connection.execute(f"CREATE TABLE {view}_{table} AS {select}")
            joins += f" LEFT JOIN {view}_{table} AS {view[0]} ON {view[0]}.transaction_id = spine.transaction_id"
        zscore = "(spine.amount - a.avg_amount_7d) / nullif(a.std_amount_7d, 0) AS amount_zscore"
        connection.execute(f"CREATE TABLE {table} AS SELECT spine.*, {columns}, {zscore} FROM spine{joins}")


def moved_back(select, hours):
    """The SELECT with every frame ending `hours` hours before the current row."""
    frame = r"RANGE BETWEEN (INTERVAL '\d+' \w+)\s+PRECEDING AND CURRENT ROW"
    lag = f"INTERVAL '{hours}' HOUR"
    return re.sub(frame, rf"RANGE BETWEEN (\1 + {lag}) PRECEDING AND {lag} PRECEDING", select)


if __name__ == "__main__":
    main()
