"""Proves every feature in DuckDB, value by value.

    python check_views.py [--asof BINARY]        needs `duckdb`, and the binary

- Each view: as of every action (of `catalogue`: as of every version) it must be what `asof history --every-event` gives.
  The text of `taste` and `item_heat` is put to DuckDB as it stands, with top_k and decayed_sum, which DuckDB does not have,
  written out. Group windows DuckDB does not have either: they are written out in VIEWS below, visits numbered by their pauses,
  hours and days as conditions on time.
- The service: as of each decision of the spine, and as of an hour after it, when most visits have ended, it must be what
  plain aggregates give over the actions up to then (SERVICE below: a second program for the same numbers).

Everything must be equal but doubles, which DuckDB adds up one after the other: those within 1e-9 of their size, or of 1
where they are smaller. Prints a row for each feature; exit 1 on any difference, or if nothing was compared.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.append(str(REPOSITORY / "tests" / "parity"))
from against_duckdb import HEAD, Comparison  # noqa: E402

SQL = re.sub(r"--[^\n]*", "", (HERE / "features.sql").read_text())
NOT_FEATURES = {"user_id", "item_id", "ts", "since"}

# The actions that count: what passes the CHECK, and of those sent twice the first one. A file has no late actions.
LOAD = f"""
    CREATE TABLE actions AS
    SELECT user_id, item_id, kind, ts
    FROM read_parquet('{HERE / "data" / "actions.parquet"}', file_row_number = true)
    WHERE kind IN ('view', 'add', 'remove', 'checkout')
    QUALIFY row_number() OVER (PARTITION BY user_id, ts ORDER BY file_row_number) = 1;

    CREATE TABLE versions AS
    SELECT item_id, CASE WHEN NOT withdrawn THEN category END AS category, CASE WHEN NOT withdrawn THEN price END AS price,
           since, lead(since, 1, 'infinity') OVER (PARTITION BY item_id ORDER BY since) AS until
    FROM read_parquet('{HERE / "data" / "items.parquet"}');

    CREATE TABLE filed AS
    SELECT a.*, i.category, i.price
    FROM actions AS a LEFT JOIN versions AS i ON i.item_id = a.item_id AND a.ts >= i.since AND a.ts < i.until;

    CREATE TABLE visits AS
    SELECT *, sum(begins::INTEGER) OVER (PARTITION BY user_id ORDER BY ts) AS visit
    FROM (
      SELECT *, coalesce(ts - lag(ts) OVER (PARTITION BY user_id ORDER BY ts) > INTERVAL 30 MINUTE, true) AS begins FROM filed
    );

    CREATE TABLE whole_visits AS
    SELECT user_id, visit, count(DISTINCT item_id) AS items, max(ts) + INTERVAL 30 MINUTE AS ended_at FROM visits GROUP BY ALL;

    CREATE TABLE whole_days AS
    SELECT item_id, date_trunc('day', ts)::TIMESTAMP AS day, count(*) FILTER (kind = 'view') AS views FROM actions GROUP BY ALL;

    CREATE TABLE spine AS
    SELECT user_id, item_id, ts + later AS ts
    FROM read_parquet('{HERE / "spine.parquet"}'), (VALUES (INTERVAL 0 HOUR), (INTERVAL 1 HOUR)) AS of(later);

    CREATE TABLE asked AS SELECT DISTINCT user_id, ts AS asked_at FROM spine;

    -- An action of age a weighs 2^(−a ÷ half-life).
    CREATE MACRO hours_of(t) AS date_diff('microsecond', TIMESTAMP '2026-01-01', t) / 3.6e9;
    CREATE MACRO weight_of(kind) AS CASE kind WHEN 'view' THEN 1 WHEN 'add' THEN 3 WHEN 'remove' THEN -3 ELSE 5 END;
    -- The different values of a list, each where it first stands; the keys of a histogram, most frequent first, then by value.
    CREATE MACRO different(l) AS list_filter(l, lambda x, place: list_position(l, x) = place);
    CREATE MACRO by_count(h) AS list_transform(
      list_sort(list_transform(map_entries(h), lambda e: {{n: -e.value::BIGINT, v: e.key}})), lambda e: e.v
    );
"""

VIEWS = {
    "visit": """
        SELECT v.user_id, v.ts,
          min(v.ts) OVER so_far AS visit_began_at,
          date_diff('microsecond', min(v.ts) OVER so_far, v.ts) / 1e6 AS visit_seconds,
          count(*) OVER so_far AS visit_actions,
          count(DISTINCT v.item_id) OVER so_far AS items_seen,
          different(list_reverse(list(v.item_id) OVER so_far))[:20] AS last_items,
          histogram(v.category) FILTER (v.kind = 'view' AND v.category IS NOT NULL) OVER so_far AS visit_categories,
          count(*) FILTER (v.kind = 'add') OVER so_far - count(*) FILTER (v.kind = 'remove') OVER so_far AS cart_items,
          before.items AS last_visit_items,
          before.ended_at AS last_visit_ended_at
        FROM visits AS v LEFT JOIN whole_visits AS before ON before.user_id = v.user_id AND before.visit = v.visit - 1
        WINDOW so_far AS (PARTITION BY v.user_id, v.visit ORDER BY v.ts)
    """,
    "item_hour": """
        WITH hours AS (SELECT *, time_bucket(INTERVAL 5 MINUTE, ts) - INTERVAL 55 MINUTE AS window_start FROM actions)
        SELECT h.user_id, h.item_id, h.ts, count(*) FILTER (a.kind = 'view') AS views_1h, count(DISTINCT a.user_id) AS users_1h
        FROM hours AS h JOIN actions AS a ON a.item_id = h.item_id AND a.ts BETWEEN h.window_start AND h.ts
        GROUP BY ALL
    """,
    "item_day": """
        SELECT a.user_id, a.item_id, a.ts,
          count(*) FILTER (kind = 'view')     OVER so_far AS views_today,
          count(*) FILTER (kind = 'checkout') OVER so_far AS bought_today,
          before.views AS views_day_before
        FROM actions AS a
        ASOF LEFT JOIN whole_days AS before ON before.item_id = a.item_id AND date_trunc('day', a.ts) > before.day
        WINDOW so_far AS (PARTITION BY a.item_id, date_trunc('day', a.ts) ORDER BY a.ts)
    """,
    "catalogue": "SELECT item_id, since, category, price FROM versions WHERE category IS NOT NULL",  # without the withdrawals
}

# What a decision is told of its user (`who`), of its candidate in the last day (`what`), and of its last day with an action before.
SERVICE = """
    WITH who AS (
      SELECT asked.user_id, asked_at,
        count(*)                FILTER (goes_on) AS visit_actions,
        count(DISTINCT item_id) FILTER (goes_on) AS items_seen,
        date_diff('microsecond', min(ts) FILTER (goes_on), max(ts) FILTER (goes_on)) / 1e6 AS visit_seconds,
        different(list(item_id ORDER BY ts DESC) FILTER (goes_on))[:20] AS last_items,
        histogram(category) FILTER (goes_on AND kind = 'view' AND category IS NOT NULL) AS visit_categories,
        count(*) FILTER (goes_on AND kind = 'add') - count(*) FILTER (goes_on AND kind = 'remove') AS cart_items,
        histogram(category) FILTER (in_week AND kind = 'view' AND category IS NOT NULL) AS week_categories,
        by_count(histogram(category) FILTER (in_week AND category IS NOT NULL))[:3] AS favourite_categories,
        count(*) FILTER (in_week AND kind = 'checkout') AS bought_7d,
        avg(price) FILTER (in_week) AS avg_price_7d
      FROM (
        SELECT asked.*, v.* EXCLUDE (user_id), v.ts >= asked_at - INTERVAL 7 DAY AS in_week,
          max(v.visit) OVER last_one = v.visit AND max(v.ts) OVER last_one >= asked_at - INTERVAL 30 MINUTE AS goes_on
        FROM asked JOIN visits AS v ON v.user_id = asked.user_id AND v.ts <= asked_at
        WINDOW last_one AS (PARTITION BY asked.user_id, asked_at)
      ) AS asked GROUP BY ALL
    ), last_visits AS (
      SELECT asked.*, before.items, before.ended_at
      FROM asked ASOF LEFT JOIN whole_visits AS before ON before.user_id = asked.user_id AND asked_at > before.ended_at
    ), what AS (
      SELECT spine.user_id, spine.item_id, spine.ts,
        count(*) FILTER (a.kind = 'view' AND in_hour)   AS views_1h,
        count(DISTINCT a.user_id) FILTER (in_hour)      AS users_1h,
        count(*) FILTER (a.kind = 'view' AND today)     AS views_today,
        count(*) FILTER (a.kind = 'checkout' AND today) AS bought_today,
        sum(weight_of(a.kind) * pow(2.0, hours_of(a.ts) - hours_of(spine.ts))) AS heat
      FROM spine LEFT JOIN (
        SELECT asked_at, actions.*, actions.ts >= time_bucket(INTERVAL 5 MINUTE, asked_at) - INTERVAL 55 MINUTE AS in_hour,
               actions.ts >= date_trunc('day', asked_at) AS today
        FROM (SELECT DISTINCT asked_at FROM asked) JOIN actions ON actions.ts BETWEEN asked_at - INTERVAL 1 DAY AND asked_at
      ) AS a ON a.asked_at = spine.ts AND a.item_id = spine.item_id
      GROUP BY ALL
    )
    SELECT what.*, c.category, c.price, day_before.views AS views_day_before, who.* EXCLUDE (user_id, asked_at, avg_price_7d),
      l.items AS last_visit_items, hours_of(what.ts) - hours_of(l.ended_at) AS hours_away,
      c.price::DOUBLE / avg_price_7d AS price_ratio
    FROM what
    JOIN who              ON who.user_id = what.user_id AND who.asked_at = what.ts
    JOIN last_visits AS l ON l.user_id = what.user_id AND l.asked_at = what.ts
    LEFT JOIN versions AS c ON c.item_id = what.item_id AND what.ts >= c.since AND what.ts < c.until
    ASOF LEFT JOIN whole_days AS day_before ON day_before.item_id = what.item_id AND date_trunc('day', what.ts) > day_before.day
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    options = parser.parse_args()
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(LOAD)
    print(HEAD)
    views = {**VIEWS, "taste": in_duckdb("taste"), "item_heat": in_duckdb("item_heat")}
    found = set(re.findall(r"CREATE FEATURE VIEW (\w+)", SQL))
    assert found == set(views), f"features.sql defines {sorted(found)}, compared are {sorted(views)}"
    comparison = Comparison(options.asof, HERE, connection, NOT_FEATURES)
    for name, select in views.items():
        key = ["item_id", "since"] if name == "catalogue" else ["user_id", "ts"]
        comparison.compare(name, key, select, "--view", name, "--every-event")
    of_views = comparison.values
    with tempfile.TemporaryDirectory() as folder:
        spine = Path(folder) / "spine.parquet"
        connection.execute(f"COPY spine TO '{spine}'")
        key = ["user_id", "item_id", "ts"]
        comparison.compare("rank_v1", key, SERVICE, "--service", "rank_v1", "--spine", spine)
    of_service, different = comparison.values - of_views, comparison.differences
    print(f"\n{of_views:,} values of views and {of_service:,} of the service, {different} differences")
    sys.exit(1 if different else 0)


def in_duckdb(name):
    """The view's own text over the used actions, with the key of the action beside it and what DuckDB lacks written out."""
    text = re.search(rf"CREATE FEATURE VIEW {name} AS\s+(SELECT.*?);", SQL, re.S)[1]
    ranking = r"by_count(histogram(\1) FILTER (\1 IS NOT NULL) OVER \3)[:\2]"
    text, ranked = re.subn(r"top_k\((\w+), (\d+)\)\s+OVER (\w+)", ranking, text)
    text = re.sub(r"histogram\((\w+)\) FILTER \(WHERE kind", r"histogram(\1) FILTER (WHERE \1 IS NOT NULL AND kind", text)
    decay = r"sum((\1) * pow(2.0, hours_of(ts))) OVER \3 / pow(2.0, hours_of(ts))"
    text, decayed = re.subn(r"decayed_sum\((.*), INTERVAL '(1)' HOUR\)\s+OVER (\w+)", decay, text)
    assert ranked + decayed == 1, f"`{name}` has {ranked} top_k and {decayed} decayed_sum of an hour"
    return re.sub(r"SELECT\s+(user_id|item_id),", "SELECT user_id, ts,", text, count=1)


if __name__ == "__main__":
    main()
