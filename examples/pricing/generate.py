"""Rides of a city whose demand jumps: `python generate.py --out DIR` makes DIR a project; DIR may be this folder.

DIR then holds `features.sql`, `spine.parquet`, and in `data` the files `requests`, `bookings`, `completions` and
`capacity`, each in the order of arrival. The same seed, zones and days give the same rows.

A zone has two rushes a day and its own level. Several times a day its demand is 2.5 to 5 times the usual, for 15 to 40
minutes (a concert ends, a train stands still), and now and then half of its cars are gone for as long. Cars are planned
for the usual demand. A rider pays at most a multiple of the base price, drawn so that m times the price is paid by one in
m² riders. Bookings and completions are those of a fixed price, the base price.

What happens on the way: everything arrives within a second, one in a hundred requests, bookings and completions up to 50
seconds after it happened; one request in five hundred arrives twice; one in a thousand has a ride of 0 minutes, which the
CHECK of the stream rejects. A count of cars arrives within half a minute, one in fifteen up to 25 minutes late; one in
fifty was wrong and is corrected within minutes. One zone is closed at night: its row is deleted.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from market import MINUTE_US, SERVED, Cars, outcomes

HERE = Path(__file__).resolve().parent
NAMES = ["harbour", "station", "airport", "old_town", "stadium"]
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US
START_US = 1_772_409_600 * SECOND_US  # Monday 2026-03-02T00:00:00Z
LAST_DAY_US = 19 * HOUR_US  # the data end in the rush of the last evening
DECISIONS_FROM_US = 7 * DAY_US  # a zone is compared with its own week
RIDE_MINUTES = 14.0  # the mean
SURGES_A_DAY = 5.0
SHORTAGES_A_DAY = 2.0
REPORT_MINUTES = 10
DELAY_MAX_US = 50 * SECOND_US
REPEATED_AFTER_MAX_US = 60 * SECOND_US  # with the delay within the 2 minutes that the streams allow
REPORT_DELAY_MAX_US = 25 * 60 * SECOND_US  # with a correction within the 30 minutes that the table allows


def main():
    options = arguments()
    world = World(options.zones, options.days, options.seed)
    requests, versions = [], []
    for zone, name in enumerate(world.names):
        rate, planned = demand(world, zone)
        requests += requests_of(world, zone, name, rate)
        versions += versions_of(world, zone, name, planned)
    requests.sort(key=lambda one: one["ts"])
    for number, request in enumerate(requests, 1):
        request["request_id"] = number
    versions.sort(key=lambda one: (one["arrived"], one["zone_id"]))
    bookings, completions = at_the_base_price(world, requests, versions)
    deliver(world, {"requests": requests, "bookings": bookings, "completions": completions})
    write(options.out, requests, bookings, completions, versions)
    report(options, requests, bookings, versions)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zones", type=int, default=5)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="the project folder to make")
    options = parser.parse_args()
    if options.zones < 1 or options.days < 8:
        parser.error("at least 1 zone and 8 days are needed")
    return options


class World:
    """What all zones share: the span of time, and the seed."""

    def __init__(self, zones, days, seed):
        self.names = [NAMES[zone] if zone < len(NAMES) else f"zone_{zone + 1}" for zone in range(zones)]
        self.end_us = START_US + (days - 1) * DAY_US + LAST_DAY_US
        self.minutes = (self.end_us - START_US) // MINUTE_US
        self.seed = seed

    def random(self, *purpose):
        """A generator of its own for each purpose, so that no purpose shifts another's numbers."""
        words = [word if isinstance(word, int) else int.from_bytes(word.encode(), "little") for word in purpose]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *words])))

    def is_closed(self, zone, minute):
        """The stadium has no rides from two to five in the morning."""
        return zone == 4 and 2 * 60 <= minute % (24 * 60) < 5 * 60


def demand(world, zone):
    """Requests a minute and the cars that are there, for each minute of the span."""
    random = world.random("demand", zone)
    hour = np.arange(world.minutes) / 60 % 24
    level = random.uniform(24.0, 44.0) / 60
    usual = level * (0.35 + 1.1 * np.exp(-(((hour - 8.5) / 1.8) ** 2)) + 1.5 * np.exp(-(((hour - 18.5) / 2.5) ** 2)))
    rate = usual.copy()
    for begin, end in episodes(world, random, SURGES_A_DAY, 15, 40):
        rate[begin:end] *= random.uniform(2.5, 5.0)
    wanted = usual * RIDE_MINUTES * 1.5 + 2.0
    for begin, end in episodes(world, random, SHORTAGES_A_DAY, 15, 40):
        wanted[begin:end] *= random.uniform(0.35, 0.6)
    return rate, wanted


def episodes(world, random, a_day, shortest, longest):
    """Some (begin, end) in minutes."""
    for _ in range(random.poisson(a_day * world.minutes / (24 * 60))):
        begin = int(random.integers(0, world.minutes))
        yield begin, begin + int(random.integers(shortest, longest + 1))


def requests_of(world, zone, name, rate):
    """Everybody who asks in a zone, in no order."""
    random = world.random("requests", zone)
    minute = np.repeat(np.arange(world.minutes), random.poisson(rate))
    ts = START_US + minute * MINUTE_US + random.integers(0, 60_000, len(minute)) * 1_000
    rides = np.round(np.clip(RIDE_MINUTES * np.exp(0.35 * random.standard_normal(len(ts)) - 0.06), 4.0, 45.0), 1)
    prices = np.round(3.0 + 0.9 * rides * random.uniform(0.9, 1.1, len(ts)), 2)
    pays = np.round((1.0 - random.random(len(ts))) ** -0.5, 3)
    rides[random.random(len(ts)) < 0.001] = 0.0
    columns = zip(ts.tolist(), rides.tolist(), prices.tolist(), pays.tolist(), strict=True)
    return [{"zone_id": name, "minutes": m, "base_price": b, "pays_at_most": p, "ts": t} for t, m, b, p in columns]


def versions_of(world, zone, name, wanted):
    """What is reported of the cars of a zone: a count every ten minutes where it has changed, corrections, the closing."""
    random = world.random("capacity", zone)
    reported, last = [], None
    for minute in range(0, world.minutes, REPORT_MINUTES):
        closed = world.is_closed(zone, minute)
        cars = None if closed else max(1, round(float(wanted[minute]) * random.uniform(0.94, 1.06)))
        if (cars, closed) != last:
            since = START_US + minute * MINUTE_US + int(random.integers(0, 60)) * SECOND_US
            reported += reports(random, {"zone_id": name, "cars": cars, "closed": closed, "since": since})
        last = (cars, closed)
    return reported


def reports(random, version):
    """One version as it arrives; or a wrong count, and then the right one."""
    slow = random.random() < 1 / 15
    delay = int(random.integers(180, REPORT_DELAY_MAX_US // SECOND_US) if slow else random.integers(2, 30)) * SECOND_US
    arrived = version["since"] + delay
    if version["closed"] or random.random() >= 0.02:
        return [version | {"arrived": arrived}]
    wrong = version | {"cars": version["cars"] + int(random.integers(1, 6)), "arrived": arrived}
    return [wrong, version | {"arrived": arrived + int(random.integers(30, 180)) * SECOND_US}]


def at_the_base_price(world, requests, versions):
    """Bookings and completions of a city in which everybody is asked the base price."""
    riders = [one for one in requests if one["minutes"] > 0]
    asked = [(one["zone_id"], one["ts"], one["minutes"], one["pays_at_most"]) for one in riders]
    cars = Cars((one["zone_id"], one["since"], one["cars"] or 0) for one in versions)
    became = outcomes(asked, cars, [1.0] * len(asked))
    served = [one for one, outcome in zip(riders, became, strict=True) if outcome == SERVED]
    bookings = [
        {"request_id": one["request_id"], "zone_id": one["zone_id"], "fare": one["base_price"], "ts": one["ts"]}
        for one in served
    ]
    completions = [
        {"request_id": one["request_id"], "zone_id": one["zone_id"], "ts": one["ts"] + round(one["minutes"] * MINUTE_US)}
        for one in served
    ]
    return bookings, [one for one in completions if one["ts"] < world.end_us]


def deliver(world, streams):
    """Gives everything the instant of its arrival, sends some requests twice, and puts each stream in order of arrival."""
    for name, events in streams.items():
        random = world.random("delivery", name)
        for event in events:
            slow = random.random() < 0.01
            delay_ms = int(random.integers(1_000, DELAY_MAX_US // 1_000) if slow else random.integers(50, 900))
            event["arrived"] = event["ts"] + delay_ms * 1_000
        if name == "requests":
            twice = [event for event in events if random.random() < 0.002]
            later = random.integers(1, REPEATED_AFTER_MAX_US // SECOND_US, len(twice)).tolist()
            events += [event | {"arrived": event["arrived"] + s * SECOND_US} for event, s in zip(twice, later, strict=True)]
        events.sort(key=lambda event: (event["arrived"], event["request_id"]))


def decisions(requests):
    """The spine: each rider who asks after the first week, as of the asking, with what he pays at most."""
    once = {one["request_id"]: one for one in requests if one["minutes"] > 0}
    for number in sorted(once):
        one = once[number]
        if one["ts"] >= START_US + DECISIONS_FROM_US:
            yield one | {"hour_of_day": (one["ts"] - START_US) % DAY_US // HOUR_US}


def write(out, requests, bookings, completions, versions):
    (out / "data").mkdir(parents=True, exist_ok=True)
    if out.resolve() != HERE:
        (out / "features.sql").write_text((HERE / "features.sql").read_text())
    event = {"request_id": pa.int64(), "zone_id": pa.string()}
    when = {"ts": pa.timestamp("us"), "arrived": pa.timestamp("us")}
    ride = {"minutes": pa.float64(), "base_price": pa.float64()}
    write_parquet(out / "data" / "requests.parquet", requests, event | ride | when)
    write_parquet(out / "data" / "bookings.parquet", bookings, event | {"fare": pa.float64()} | when)
    write_parquet(out / "data" / "completions.parquet", completions, event | when)
    version = {"zone_id": pa.string(), "cars": pa.int64(), "closed": pa.bool_(), "since": pa.timestamp("us")}
    write_parquet(out / "data" / "capacity.parquet", versions, version | {"arrived": pa.timestamp("us")})
    asked = event | {"hour_of_day": pa.int64()} | ride | {"ts": pa.timestamp("us"), "pays_at_most": pa.float64()}
    write_parquet(out / "spine.parquet", list(decisions(requests)), asked)


def write_parquet(path, rows, types):
    """Columns of few different values get a dictionary; numbers that grow, the steps between them."""
    growing = {name: "DELTA_BINARY_PACKED" for name in ("request_id", "ts", "since", "arrived") if name in types}
    table = pa.Table.from_pylist(rows, schema=pa.schema(types))
    repeating = [name for name in types if name not in growing and name != "closed"]
    pq.write_table(table, path, compression="zstd", use_dictionary=repeating, column_encoding=growing)


def report(options, requests, bookings, versions):
    print(f"{len(requests):,} requests of {options.zones} zones over {options.days} days, {len(bookings):,} of them booked")
    print(f"  {len(versions):,} versions of the capacity, spine: {sum(1 for _ in decisions(requests)):,} decisions")


if __name__ == "__main__":
    main()
