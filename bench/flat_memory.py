"""Ten years of events through seven-day windows at rate 'max': memory stays flat, while entities come and go for ever.

    python3 bench/flat_memory.py
    python3 bench/flat_memory.py --events 3000000 --every 0.2

A twentieth of the entities is new each day and as many never come back, so 3.7 million pass and about 25,000 have events in
the seven days. Resident memory is sampled from /proc, entities and bytes of state from /v1/objects. Asserted of each: the
peak of the second half is at most 1.15 times that of the first half, both after the first year; and an entity of the first
day, long forgotten, answers like one with no events. Exit 1 if not. Samples: bench/results/flat_memory.csv.
"""

import argparse
import sys
import time

from measure import write_csv
from serving.machine import BENCH, add_binaries, check_binaries, enter_venv, print_machine
from serving.population import CHURN_ENTITIES, CHURN_PER_DAY
from serving.projects import SERVING, events, project
from serving.server import Server

DAYS = 3_650
YEARS = 10
GROWTH_MAX = 1.15
HALVES = [(1.0, 5.5), (5.5, float("inf"))]  # years, after the first
SAMPLES_MIN = 20  # in each half
SHOWN = 25
READY_S_MAX = 3_600
HEADER = ["second", "years", "rows", "entities", "events", "state_mib", "resident_mib"]


def main():
    options = arguments()
    enter_venv()
    print_machine()
    data = events(f"churn_{options.events}", {"events.parquet": ["churn", "--events", options.events, "--days", DAYS]})
    folder = project("decade", data, {"decade.sql": (SERVING / "decade.sql").read_text()})
    samples = sampled(options, folder)
    write_csv(BENCH / "results" / "flat_memory.csv", HEADER, samples)
    sys.exit(0 if report(samples) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--every", type=float, default=0.25, help="seconds between samples")
    add_binaries(parser)
    options = parser.parse_args()
    check_binaries(parser, options)
    return options


def sampled(options, folder):
    """A row of HEADER each time, from the first event taken in to the last."""
    samples = []
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX, lambda: samples.extend(sample(options, server)), options.every)
        samples.extend(sample(options, server))
        check_answers(server)
    return samples


def sample(options, server):
    """One row; none before the replay has begun."""
    replay = server.replay("events")
    if replay.started is None:
        return []
    view = server.get("/v1/objects/entity_activity")
    years = replay.rows / options.events * YEARS
    memory = [f"{bytes_ / 2**20:.1f}" for bytes_ in (view["state_bytes"], server.resident_bytes())]
    return [[f"{time.time() - replay.started:.1f}", f"{years:.2f}", replay.rows, view["entities"], view["events_held"], *memory]]


def check_answers(server):
    """An entity of the first day answers as never seen; of the last ones many are known."""
    first = server.read("entity_v1", [{"entity_id": 0}])
    assert first["rows"] == [[0, None, None, None, 0]] and not any(first["known"].popitem()[1]), f"entity 0: {first}"
    newest = int(CHURN_ENTITIES * CHURN_PER_DAY * DAYS)
    known = server.read("entity_v1", [{"entity_id": newest + more} for more in range(1_000)])["known"].popitem()[1]
    assert sum(known) > 100, f"of 1,000 entities of the last day {sum(known)} are known"


def report(samples):
    print(f"\n| {' | '.join(HEADER)} |\n|" + "---:|" * len(HEADER))
    for row in samples[:: max(1, len(samples) // SHOWN)]:
        print(f"| {' | '.join(str(cell) for cell in row)} |")
    halves = [[row for row in samples if low <= float(row[1]) < high] for low, high in HALVES]
    if min(map(len, halves)) < SAMPLES_MIN:
        print(f"\nNOT KEPT: {len(halves[0])} and {len(halves[1])} samples, fewer than {SAMPLES_MIN}: more --events or a lower --every")
        return False
    print()
    return all([is_flat(halves, name) for name in ("entities", "state_mib", "resident_mib")])


def is_flat(halves, name):
    column = HEADER.index(name)
    first, second = (max(float(row[column]) for row in half) for half in halves)
    growth = second / first
    print(f"{'kept' if growth <= GROWTH_MAX else 'NOT KEPT'}: {name}: peak of the first half {first:,.0f}", end="")
    print(f", of the second {second:,.0f}: factor {growth:.3f}, at most {GROWTH_MAX}")
    return growth <= GROWTH_MAX


if __name__ == "__main__":
    main()
