"""Vibration of machines whose bearings wear: `python generate.py --out DIR` makes DIR a project; DIR may be this folder.

DIR then holds `features.sql`, `data/readings.parquet`, `data/failures.parquet` and `spine.parquet`. The same seed,
machines and days give the same rows. Everything is held in memory: about 160 bytes a reading.

A machine is read every ten minutes. It has its own level of vibration, swings with the load of the day, and now and then
shakes for some hours for a reason that harms nobody. Its bearing lives about three weeks; towards the end the vibration
grows by exp(−time left ÷ warning), scatters more, heats the bearing and trips the overload protection. The warning of a
slow failure is about two days, of a sudden one about six hours. A failed bearing is replaced within 4 to 12 hours, in
which the machine is silent, and the next one begins.

What happens to readings: a sensor fails for some readings in a row (NULL, `fault` is 'sensor'); one in five thousand is
the code −999, which the CHECK of the stream rejects; some never arrive; one in a hundred arrives up to 15 minutes after
it was taken, often after the next one; one in five hundred arrives twice.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US
START_US = 1_767_225_600 * SECOND_US  # 2026-01-01T00:00:00Z
STEP_US = 600 * SECOND_US  # from reading to reading
LIFE_US = 22 * DAY_US  # of a bearing, the median
SUDDEN_SHARE = 0.3
WARNING_US = {False: 48 * HOUR_US, True: 6 * HOUR_US}  # by whether the failure is sudden, the median
DELAY_MAX_US = 895 * SECOND_US  # within the stream's allowed lateness of 15 minutes
DECISION_EVERY_US = 6 * HOUR_US
DECISIONS_FROM_US = 7 * DAY_US  # a machine is compared with its own week
LABEL_US = DAY_US
FAULTS = np.array(["", "sensor", "overload"])
SENSOR, OVERLOAD = 1, 2

READING = np.dtype([
    ("machine", "i8"), ("vibration", "f8"), ("temperature", "f8"), ("fault", "i1"), ("ts", "i8"), ("arrived", "i8"),
])


def main():
    options = arguments()
    world = World(options.machines, options.days, options.seed)
    bearings = [bearing for machine in range(1, options.machines + 1) for bearing in bearings_of(world, machine)]
    readings = np.concatenate([readings_of(world, bearings, machine) for machine in range(1, options.machines + 1)])
    readings = delivered(readings, world.random("delivery"))
    spine = decisions(world, bearings)
    (options.out / "data").mkdir(parents=True, exist_ok=True)
    if options.out.resolve() != HERE:
        (options.out / "features.sql").write_text((HERE / "features.sql").read_text())
    repeating = ["machine_id", "vibration", "temperature", "fault"]
    write(options.out / "data" / "readings.parquet", readings_table(readings), repeating)
    write(options.out / "data" / "failures.parquet", failures_table(world, bearings), ["machine_id"])
    write(options.out / "spine.parquet", spine, ["machine_id", "fails_within_24h"])
    report(options, world, readings, bearings, spine)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=30)
    parser.add_argument("--days", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="the project folder to make")
    options = parser.parse_args()
    if options.machines < 1 or options.days < 10:
        parser.error("at least 1 machine and 10 days are needed")
    return options


class World:
    """What all machines share: the span of time, and the seed."""

    def __init__(self, machines, days, seed):
        self.machines = machines
        self.end_us = START_US + days * DAY_US
        self.seed = seed

    def random(self, *purpose):
        """A generator of its own for each purpose, so that no purpose shifts another's numbers."""
        words = [word if isinstance(word, int) else int.from_bytes(word.encode(), "little") for word in purpose]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *words])))


@dataclass(frozen=True)
class Bearing:
    machine: int
    begin_us: int
    fails_us: int
    replaced_us: int
    warning_us: int
    growth: float  # of the vibration at the moment of failure, over that of a new bearing
    sudden: bool


def bearings_of(world, machine):
    """The bearings of a machine that run within the span, one after the other. The first is no longer new."""
    random = world.random("bearings", machine)
    begin_us = START_US - in_milliseconds(random.uniform(0.0, 0.8) * LIFE_US)
    found = []
    while begin_us < world.end_us:
        bearing = next_bearing(random, machine, begin_us)
        begin_us = bearing.replaced_us
        if bearing.fails_us > START_US:
            found.append(bearing)
    return found


def next_bearing(random, machine, begin_us):
    fails_us = begin_us + in_milliseconds(LIFE_US * np.exp(0.35 * random.standard_normal()))
    sudden = bool(random.random() < SUDDEN_SHARE)
    warning_us = int(WARNING_US[sudden] * np.exp(0.4 * random.standard_normal()))
    growth = random.uniform(1.0, 3.0)
    replaced_us = fails_us + in_milliseconds(random.uniform(4.0, 12.0) * HOUR_US)
    return Bearing(machine, begin_us, fails_us, replaced_us, warning_us, growth, sudden)


def in_milliseconds(microseconds):
    """To a whole millisecond, as sensors tell time."""
    return int(microseconds) // 1_000 * 1_000


def readings_of(world, bearings, machine):
    """Everything that a machine measures, in time order: one run of readings for each of its bearings."""
    random = world.random("readings", machine)
    steps = np.arange(START_US + int(random.integers(0, STEP_US)), world.end_us - STEP_US, STEP_US)
    ts = (steps // 1_000 + random.integers(-1_500, 1_501, len(steps))) * 1_000
    wear, age = np.full(len(ts), np.nan), np.zeros(len(ts))
    for bearing in (bearing for bearing in bearings if bearing.machine == machine):
        runs = (ts >= bearing.begin_us) & (ts < bearing.fails_us)
        wear[runs] = bearing.growth * np.exp((ts[runs] - bearing.fails_us) / bearing.warning_us)
        age[runs] = (ts[runs] - bearing.begin_us) / (bearing.fails_us - bearing.begin_us)
    runs = ~np.isnan(wear) & (random.random(len(ts)) > 0.003)  # the others never arrive
    return measured(random, machine, ts[runs], wear[runs], age[runs])


def measured(random, machine, ts, wear, age):
    """Readings at the given times, of a bearing worn so far."""
    count = len(ts)
    readings = np.zeros(count, READING)
    readings["machine"], readings["ts"] = machine, ts
    level, phase = random.uniform(1.0, 2.4), random.uniform(0.0, 2.0 * np.pi)
    load = np.sin((ts - START_US) / DAY_US * 2.0 * np.pi + phase)
    shaken = harmless(random, ts)
    scatter = np.exp((0.06 + 0.04 * np.minimum(wear, 2.0)) * random.standard_normal(count))
    readings["vibration"] = np.round(level * (1.0 + 0.1 * load) * (1.0 + 0.15 * age + wear) * shaken * scatter, 2)
    warmth = 38.0 + 3.0 * load + 4.0 * wear + 3.0 * (shaken - 1.0) + 0.8 * random.standard_normal(count)
    readings["temperature"] = np.round(warmth, 1)
    readings["fault"][random.random(count) < 0.0008 * (1.0 + 6.0 * wear)] = OVERLOAD
    readings["vibration"][random.random(count) < 0.0002] = -999.0
    fail_sensors(random, readings)
    return readings


def harmless(random, ts):
    """Factors of the vibration: 1, but in episodes that no failure follows (another product, a loose cover)."""
    factors = np.ones(len(ts))
    for _ in range(random.poisson((ts[-1] - ts[0]) / (8 * DAY_US))):
        begin_us = random.integers(ts[0], ts[-1])
        end_us = begin_us + random.integers(2 * HOUR_US, 30 * HOUR_US)
        factors[(ts >= begin_us) & (ts < end_us)] *= random.uniform(1.2, 2.0)
    return factors


def fail_sensors(random, readings):
    """Takes the values out of some runs of readings: the vibration always, the temperature in half of the runs."""
    for begin in np.flatnonzero(random.random(len(readings)) < 0.0015):
        run = slice(begin, begin + random.integers(1, 13))
        readings["vibration"][run] = np.nan
        readings["fault"][run] = SENSOR
        if random.random() < 0.5:
            readings["temperature"][run] = np.nan


def delivered(readings, random):
    """The readings in order of arrival, some of them late by minutes, some twice."""
    count = len(readings)
    delay_us = random.integers(50, 900, count) * 1_000
    slow = np.flatnonzero(random.random(count) < 0.01)
    delay_us[slow] = random.integers(1_000, DELAY_MAX_US // 1_000, len(slow)) * 1_000
    readings["arrived"] = readings["ts"] + delay_us
    again = readings[random.random(count) < 0.002]
    again["arrived"] += random.integers(1, 600, len(again)) * SECOND_US
    readings = np.concatenate([readings, again])
    return readings[np.lexsort((readings["machine"], readings["ts"], readings["arrived"]))]


def decisions(world, bearings):
    """The spine: every six hours each machine that runs, with the label: does it fail within 24 hours?

    None stands in the last 24 hours, whose failures the span does not hold.
    """
    rows = [
        (machine_name(bearing.machine), instant_us, bearing.fails_us <= instant_us + LABEL_US)
        for instant_us in range(START_US + DECISIONS_FROM_US, world.end_us - LABEL_US + 1, DECISION_EVERY_US)
        for bearing in bearings
        if bearing.begin_us <= instant_us < bearing.fails_us
    ]
    machines, instants_us, labels = zip(*rows)
    return pa.table({"machine_id": machines, "ts": instants(instants_us), "fails_within_24h": labels})


def machine_name(machine):
    return f"m{machine:02}"


def instants(microseconds):
    return pa.array(microseconds, pa.int64()).cast(pa.timestamp("us"))


def readings_table(readings):
    names = pa.array([machine_name(machine) for machine in range(readings["machine"].max() + 1)])
    fault = readings["fault"]
    return pa.table({
        "machine_id": names.take(pa.array(readings["machine"].copy())),
        **{name: pa.array(readings[name].copy(), mask=np.isnan(readings[name])) for name in ("vibration", "temperature")},
        "fault": pa.array(FAULTS).take(pa.array(fault.copy(), mask=fault == 0)),
        "ts": instants(readings["ts"].copy()), "arrived": instants(readings["arrived"].copy()),
    })


def failures_of(world, bearings):
    return sorted((one for one in bearings if one.fails_us < world.end_us), key=lambda one: one.fails_us)


def failures_table(world, bearings):
    failed = failures_of(world, bearings)
    return pa.table({
        "machine_id": [machine_name(one.machine) for one in failed],
        "failed_at": instants([one.fails_us for one in failed]),
        "replaced_at": instants([one.replaced_us for one in failed]),
        "sudden": [one.sudden for one in failed],
    })


def write(path, table, repeating):
    """A Parquet file; columns of few different values get a dictionary."""
    pq.write_table(table, path, compression="zstd", use_dictionary=repeating)


def report(options, world, readings, bearings, spine):
    failed = failures_of(world, bearings)
    labels = spine.column("fails_within_24h").to_pylist()
    print(f"{len(readings):,} readings of {options.machines:,} machines over {options.days} days")
    print(f"  {len(failed):,} failures, {sum(one.sudden for one in failed):,} of them sudden")
    print(f"  spine: {len(labels):,} decisions, {sum(labels):,} of them fail within 24 hours")


if __name__ == "__main__":
    main()
