"""What fresh features are worth: the same price rule on features of now, on those of a batch, and no rule at all.

    python worth.py [--asof BINARY] [--project DIR] [--data-dir DIR]        needs `duckdb`, and what `asof run` has stored

Every rider of the spine is asked the price of the service `price_v1`, with features as of the instant of asking or as of the
last run of a batch, which is ready at once. Either knows only what had arrived by then (`--knowledge as-served`). What riders
and cars then do is in market.py; the cars there are the true ones, whenever they were reported.

The rule has one number, the utilisation from which the price rises. `price_v1` has FULL; the last column takes for each
row the best of FULLS, found on these same riders, in case FULL suits one row and not another.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

from market import SERVED, UNSERVED, WALKED, Cars, outcomes

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
BATCHES_MINUTES = [5, 15, 45]
FULL = 0.9
FULLS = [0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0]
SHOWN = [SERVED, WALKED, UNSERVED]


def main():
    options = arguments()
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(f"CREATE TABLE spine AS FROM read_parquet('{options.project / 'spine.parquet'}')")
    city = City(connection, options.project)
    print(f"{len(city.riders):,} riders\n")
    print("| price | revenue | against fixed | served | walked away | found no car | at its best |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    fixed = city.revenue([1.0] * len(city.riders))
    city.row("fixed", [1.0] * len(city.riders), fixed, None)
    city.row_of_rule("features as of the request", utilisations(options, connection, 0), fixed)
    for minutes in BATCHES_MINUTES:
        city.row_of_rule(f"features of a batch every {minutes} minutes", utilisations(options, connection, minutes), fixed)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    parser.add_argument("--project", type=Path, default=HERE)
    parser.add_argument("--data-dir", type=Path, help="where `asof run` has stored the streams; default: .asof in the project")
    return parser.parse_args()


def utilisations(options, connection, batch_minutes):
    """`utilisation_5m` for each rider, as of the last run of a batch, or of the asking (0)."""
    with tempfile.TemporaryDirectory() as folder:
        spine, out = Path(folder) / "spine.parquet", Path(folder) / "priced.parquet"
        as_of = f"time_bucket(INTERVAL {batch_minutes} MINUTE, ts)" if batch_minutes else "ts"
        connection.execute(f"""
            COPY (SELECT request_id, zone_id, hour(as_of) AS hour_of_day, base_price, as_of AS ts
                  FROM (SELECT *, {as_of} AS as_of FROM spine)) TO '{spine}'
        """)
        data_dir = ["--data-dir", options.data_dir] if options.data_dir else []
        command = [options.asof, "history", options.project, "--service", "price_v1", "--spine", spine, "--out", out]
        said = subprocess.run([*command, "--knowledge", "as-served", *data_dir], capture_output=True, text=True)
        if said.returncode != 0:
            sys.exit(f"asof history failed:\n{said.stdout}{said.stderr}")
        found = connection.execute(
            f"SELECT coalesce(utilisation_5m, 0), price / base_price FROM read_parquet('{out}') ORDER BY request_id"
        ).fetchall()
    assert all(math.isclose(asked(utilisation, FULL), price) for utilisation, price in found), "price_v1 has another rule"
    return [utilisation for utilisation, _ in found]


def asked(utilisation, full):
    """The rule of `price_v1`: what a rider is asked, over the base price."""
    return min(3.0, max(1.0, math.sqrt(utilisation / full)))


class City:
    """The riders, in the order of asking, and the cars that there are."""

    def __init__(self, connection, project):
        self.riders = connection.execute(
            "SELECT zone_id, epoch_us(ts), minutes, pays_at_most, base_price FROM spine ORDER BY request_id"
        ).fetchall()
        capacity = f"read_parquet('{project / 'data' / 'capacity.parquet'}', file_row_number = true)"
        self.cars = Cars(connection.execute(
            f"SELECT zone_id, epoch_us(since), CASE WHEN closed THEN 0 ELSE cars END FROM {capacity} ORDER BY file_row_number"
        ).fetchall())

    def row_of_rule(self, name, utilisations, fixed):
        best = max(self.revenue([asked(one, full) for one in utilisations]) for full in FULLS)
        self.row(name, [asked(one, FULL) for one in utilisations], fixed, best)

    def row(self, name, multipliers, fixed, best):
        became, revenue = self.outcomes(multipliers), self.revenue(multipliers)
        shares = " | ".join(f"{became.count(outcome) / len(became):.1%}" for outcome in SHOWN)
        against, at_best = ("–" if one is None else f"{one / fixed - 1:+.1%}" for one in (revenue if best else None, best))
        print(f"| {name} | {revenue:,.0f} | {against} | {shares} | {at_best} |")

    def revenue(self, multipliers):
        became = self.outcomes(multipliers)
        paid = zip(multipliers, self.riders, became, strict=True)
        return sum(multiplier * rider[4] for multiplier, rider, outcome in paid if outcome == SERVED)

    def outcomes(self, multipliers):
        return outcomes([rider[:4] for rider in self.riders], self.cars, multipliers)


if __name__ == "__main__":
    main()
