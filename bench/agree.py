"""`agree.py EVENTS KEY OUT OTHER`: compares the answers of a contender with another's, joined by the columns of KEY.

Counts, minima and maxima must be equal, other doubles within 1e-9 of each other. Where they are further apart, the exact
value is computed from the events by rational arithmetic (for at most EXACT_ROWS_MAX rows of a feature, chosen by hash), and
whoever is off by more than 1e-9 is named; sums carried along in doubles lose digits, so a peer may be. Prints a line or
a few; exit 1 if the first output is wrong anywhere.
"""

import sys
from fractions import Fraction
from math import isclose, sqrt

import duckdb

EVERYTHING_BELOW = 2_000_000  # rows; above, only the accounts of one in 100
EXACT_ROWS_MAX = 200
TOLERANCE = 1e-9
MINUTE_US = 60_000_000
WINDOW_US = {"5m": 5 * MINUTE_US, "1h": 60 * MINUTE_US, "7d": 7 * 24 * 60 * MINUTE_US}
EQUAL = ["txn_count_5m", "min_amount_5m", "max_amount_5m", "merchants_5m", "txn_count_1h"]
NEAR = ["spend_5m", "avg_amount_5m", "spend_1h", "avg_amount_7d", "std_amount_7d"]


def main():
    events, key, ours, theirs = sys.argv[1:]
    connection = duckdb.connect(config={"threads": 2})
    for name, path in [("events", events), ("ours_all", ours), ("theirs_all", theirs)]:
        connection.execute(f"CREATE VIEW {name} AS FROM read_parquet('{path}')")
    counts = [connection.execute(f"SELECT count(*) FROM {side}_all").fetchone()[0] for side in ("ours", "theirs")]
    sample = "true" if counts[0] < EVERYTHING_BELOW else "hash(account_id) % 100 = 7"
    for side in ("ours", "theirs"):
        # Events of equal key are peers: they have equal values, so one of them stands for all.
        chosen = f"SELECT DISTINCT ON ({key}) * FROM {side}_all WHERE {sample}"
        connection.execute(f"CREATE TABLE {side} AS {chosen}")
    compared, missing = connection.execute(
        f"SELECT count(*), count(*) FILTER (ours.account_id IS NULL OR theirs.account_id IS NULL) "
        f"FROM ours FULL JOIN theirs USING ({key})"
    ).fetchone()
    missing += abs(counts[0] - counts[1])
    wrong = {"ours": 0, "theirs": 0, "equal columns": 0}
    for feature in EQUAL:
        wrong["equal columns"] += differing(connection, key, feature, f"ours.{feature} IS DISTINCT FROM theirs.{feature}")[0]
    for feature in NEAR:
        judge(connection, key, feature, wrong)
    print(f"    {compared:,} rows compared: {missing} without a partner, {wrong['equal columns']} differ in counts, "
          f"min or max; of the doubles the first is off in {wrong['ours']}, the second in {wrong['theirs']}")
    sys.exit(1 if missing or wrong["ours"] or wrong["equal columns"] else 0)


def differing(connection, key, feature, condition, rows_max=0):
    """How many rows meet the condition, and the first of them: account, time in microseconds, both values."""
    join = f"FROM ours JOIN theirs USING ({key}) WHERE {condition}"
    count = connection.execute(f"SELECT count(*) {join}").fetchone()[0]
    ts = "ts" if "ts" in key.split(",") else "ours.ts"
    account = "account_id" if "account_id" in key.split(",") else "ours.account_id"
    columns = f"{account}, epoch_us({ts}), ours.{feature}, theirs.{feature}"
    rows = connection.execute(f"SELECT {columns} {join} ORDER BY hash({account}, {ts}) LIMIT {rows_max}").fetchall() if count else []
    return count, rows


def judge(connection, key, feature, wrong):
    """Counts who is wrong where the doubles are apart; says so if there were more rows than it checked."""
    a, b = f"ours.{feature}", f"theirs.{feature}"
    apart = f"({a} IS NULL) <> ({b} IS NULL) OR abs({a} - {b}) > {TOLERANCE} * greatest(abs({a}), abs({b}))"
    count, rows = differing(connection, key, feature, apart, EXACT_ROWS_MAX)
    for account, ts_us, our_value, their_value in rows:
        exact = exact_value(connection, feature, account, ts_us)
        wrong["ours"] += not near(our_value, exact)
        wrong["theirs"] += not near(their_value, exact)
    if count > len(rows):
        print(f"    {feature}: {count:,} rows differ, {len(rows)} of them checked exactly")


def near(value, exact):
    return value is exact if value is None or exact is None else isclose(value, exact, rel_tol=TOLERANCE)


def exact_value(connection, feature, account, ts_us):
    what, window = feature.split("_")[0], feature.split("_")[-1]
    amounts = connection.execute(
        f"SELECT amount FROM events WHERE account_id = {account} "
        f"AND epoch_us(ts) BETWEEN {ts_us - WINDOW_US[window]} AND {ts_us}"
    ).fetchall()
    amounts = [Fraction(amount) for amount, in amounts]
    count = len(amounts)
    if count == 0 or what == "std" and count == 1:
        return None
    total = sum(amounts)
    if what == "spend":
        return float(total)
    if what == "avg":
        return float(total / count)
    return sqrt((count * sum(amount * amount for amount in amounts) - total * total) / (count * (count - 1)))


if __name__ == "__main__":
    main()
