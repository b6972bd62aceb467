"""Do the features foretell failures? Each alone, from the training set that `asof history` wrote.

    asof history DIR --service failure_v1 --spine DIR/spine.parquet --out machines_training.parquet
    python foretell.py machines_training.parquet [--project DIR]        needs `duckdb`

AUC: the chance that a machine that fails within 24 hours has a higher value than one that does not (0.5: says nothing;
for the time since an overload: a lower value). A decision where the feature is NULL is left out.

Foretold: an alarm is a value beyond the threshold that at most FALSE_ALARMS of the decisions without a failure pass,
a NULL raises none; a failure is foretold if one of the decisions in the 24 hours before it raises the alarm. The lead is
from the first such decision to the failure.
"""

import argparse
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
FALSE_ALARMS = 0.01
LOWER_IS_WORSE = {"hours_since_overload"}
NOT_FEATURES = {"machine_id", "ts", "fails_within_24h", "failed_at"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path, help="the file that `asof history` wrote")
    parser.add_argument("--project", type=Path, default=HERE, help="where data/failures.parquet is")
    options = parser.parse_args()
    connection = duckdb.connect()
    load(connection, options)
    decisions, failing = connection.execute("SELECT count(*), count(*) FILTER (fails_within_24h) FROM training").fetchone()
    failures, sudden = connection.execute("SELECT count(*), count(*) FILTER (sudden) FROM foretellable").fetchone()
    print(f"{decisions:,} decisions, {failing:,} of them fail within 24 hours; "
          f"{failures} failures, {sudden} of them sudden; at most {FALSE_ALARMS:.0%} false alarms\n")
    print("| feature alone | compared | AUC | foretold | slow ones | sudden ones | lead, median |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for feature in features(connection):
        print(row(connection, feature))


def load(connection, options):
    """`training`, each failing decision with its failure; `foretellable`: the failures that have a decision before them."""
    connection.execute(f"CREATE TABLE failures AS FROM read_parquet('{options.project / 'data' / 'failures.parquet'}')")
    connection.execute(f"""
        CREATE TABLE training AS
        SELECT answers.*, CASE WHEN fails_within_24h THEN failures.failed_at END AS failed_at
        FROM read_parquet('{options.training}') AS answers ASOF LEFT JOIN failures
        ON failures.machine_id = answers.machine_id AND failures.failed_at > answers.ts
    """)
    connection.execute("""
        CREATE TABLE foretellable AS
        SELECT DISTINCT machine_id, failed_at, sudden
        FROM failures JOIN training USING (machine_id, failed_at)
    """)


def features(connection):
    columns = connection.execute("SELECT column_name FROM (DESCRIBE training)").fetchall()
    return [name for (name,) in columns if name not in NOT_FEATURES]


def row(connection, feature):
    score = f"-{feature}" if feature in LOWER_IS_WORSE else feature
    compared, value = auc(connection, score)
    foretold, slow, sudden, lead = foretells(connection, score)
    hours = "–" if lead is None else f"{lead:.1f} h"
    return f"| `{feature}` | {compared:,} | {value:.3f} | {foretold:.0%} | {slow:.0%} | {sudden:.0%} | {hours} |"


def auc(connection, score):
    """Mann and Whitney: the share of pairs (failing, not) in which the failing one ranks higher, ties half."""
    return connection.execute(f"""
        WITH ranked AS (
          SELECT fails_within_24h AS fails,
                 rank() OVER (ORDER BY score) + (count(*) OVER (PARTITION BY score) - 1) / 2.0 AS place
          FROM (SELECT fails_within_24h, {score} AS score FROM training) WHERE score IS NOT NULL
        ), counted AS (
          SELECT sum(place) FILTER (fails) AS places, count(*) FILTER (fails)::DOUBLE AS failing, count(*)::DOUBLE AS every
          FROM ranked
        )
        SELECT every::BIGINT, (places - failing * (failing + 1) / 2) / (failing * (every - failing)) FROM counted
    """).fetchone()


def foretells(connection, score):
    """The share of failures with an alarm before them: of all, of the slow, of the sudden ones; the median lead in hours."""
    (threshold,) = connection.execute(f"""
        SELECT quantile_disc(coalesce({score}, '-inf'::DOUBLE), {1 - FALSE_ALARMS}) FROM training WHERE NOT fails_within_24h
    """).fetchone()
    return connection.execute(f"""
        WITH alarmed AS (
          SELECT machine_id, failed_at, max(date_diff('second', ts, failed_at)) FILTER ({score} > $threshold) / 3600 AS lead
          FROM training WHERE fails_within_24h GROUP BY ALL
        )
        SELECT avg((lead IS NOT NULL)::INTEGER), avg((lead IS NOT NULL)::INTEGER) FILTER (NOT sudden),
               avg((lead IS NOT NULL)::INTEGER) FILTER (sudden), median(lead)
        FROM foretellable LEFT JOIN alarmed USING (machine_id, failed_at)
    """, {"threshold": threshold}).fetchone()


if __name__ == "__main__":
    main()
