"""How fast `asof run` takes in events over HTTP: durable and visible, with checkpoints, generator and server on the same cores.

    python3 bench/ingest.py                    all but the long one, medians of 3 runs of 15 seconds
    python3 bench/ingest.py batch arrow        NDJSON into ten features, Arrow into a log alone
    python3 bench/ingest.py --long             139,000 events/s, five times 100 million an hour, for 20 minutes
    python3 bench/ingest.py --runs 1 --seconds 5 a quick look

| Section | Posts |
|---|---|
| batch | NDJSON, 1,000 events of about 135 bytes each, into ten features over 1 M accounts, closed loop; pauses for checkpoints |
| scored | as `batch`, and as many again where each event is kept with its ten features: what scoring costs |
| arrow | Arrow IPC, 8,000 records of 100 bytes each, into a stream without views, closed loop |
| single | one event each at 2,000/s: latency from due to durable and visible |
| half | batches of --half-rows at half the rate of `batch`, beside 5,000 reads/s |
| restart | 1 M accounts with 70 M events in their windows: from start to ready, after Ctrl-C and after kill -9 |
| long | only with --long: latency, and resident memory once the windows of five minutes are full |

Latency runs from the instant at which a post was due. Events per processor second are those of the server's own time. Exit 1
if a figure is not kept. Results: bench/results/ingest.json.
"""

import argparse
import random
import statistics
import sys
import threading

from serving import endurance, histogram
from serving.live_projects import BATCH_ROWS, FILLED, arrow_records, fill, ndjson, records, transactions
from serving.load import Load, median_of, print_head, print_row, write_bodies
from serving.machine import add_binaries, check_binaries, enter_venv, print_machine, write_results
from serving.posts import ACCOUNTS, FIRST_ACCOUNT
from serving.promises import is_answered, promised
from serving.server import Server

SECTIONS = ["batch", "scored", "arrow", "single", "half", "restart"]
BATCH_PER_CPU_S_MIN, BATCH_PER_S_MIN, ARROW_PER_S_MIN = 500_000, 300_000, 1_200_000
SCORED_PER_S_MIN = 50_000
PAUSE = "asof_checkpoint_pause_seconds"
PAUSE_S_MAX = 0.005
SINGLE_RATE, SINGLE_P99_US_MAX, SINGLE_CONNECTIONS = 2_000, 5_000, 16
HALF_US_MAX, READ_RATE, READ_P99_US_MAX = {"p99_us": 5_000, "p999_us": 20_000}, 5_000, 2_000
READY_S_MAX, CHECKPOINT_S_MAX = 60, 120


def main():
    options = arguments()
    enter_venv()
    print_machine()
    steps = {"batch": batch, "scored": scored, "arrow": arrow, "single": single, "half": half, "restart": endurance.restart, "long": endurance.long}
    names = options.sections or ([] if options.long else SECTIONS)
    kept = [steps[name](options) for name in [*names, *(["long"] if options.long else [])]]
    sys.exit(0 if all(kept) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--runs", type=int, default=3, help="runs of each load; the median counts")
    parser.add_argument("--seconds", type=float, default=15, help="of each run, after its warm-up")
    parser.add_argument("--warm-up", type=float, default=3, help="seconds")
    parser.add_argument("--half-rows", type=int, default=BATCH_ROWS, help="events in a batch of `half`")
    parser.add_argument("--state-events", type=int, default=70_000_000, help="of `restart`")
    parser.add_argument("--long", action="store_true", help="also, or without sections only, the long one")
    parser.add_argument("--long-seconds", type=float, default=1_200)
    add_binaries(parser)
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section named {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}, and --long")
    check_binaries(parser, options)
    return options


def batch(options):
    figures = peak(options)
    write_results("ingest", {"batch": figures})
    pause_s = figures["pause_p99_s_max"]
    return all([
        promised(f"{BATCH_PER_S_MIN:,} events/s: {figures['events_per_s']:,}", figures["events_per_s"] >= BATCH_PER_S_MIN),
        promised(f"{BATCH_PER_CPU_S_MIN:,} events per processor second: {figures['events_per_cpu_s']:,}",
                 figures["events_per_cpu_s"] >= BATCH_PER_CPU_S_MIN),
        promised(f"p99 of the pause for checkpoints at most {PAUSE_S_MAX * 1_000:g} ms: {pause_s * 1_000:g} ms", pause_s <= PAUSE_S_MAX),
    ])


def scored(options):
    """The same load on two servers in turn: with and without a stream of scored rows."""
    found = {}
    for name in ("plain", "scored"):
        folder = transactions(f"ingest_{name}", scored=name == "scored")
        print_head(f"NDJSON, {BATCH_ROWS:,} events a post, ten features, {name}")
        with Server(options.asof, folder) as server:
            server.wait_ready(READY_S_MAX)
            posts = ndjson(options, folder)
            fill(server, posts, FILLED)
            found[name] = measured(options, server, posts, "max", "closed loop")
            check_known(server)
    found["cpu_of_scoring"] = found["plain"]["events_per_cpu_s"] / found["scored"]["events_per_cpu_s"]
    write_results("ingest", {"scored": found})
    per_s, factor = found["scored"]["events_per_s"], found["cpu_of_scoring"]
    return promised(f"{SCORED_PER_S_MIN:,} scored events/s: {per_s:,}, at {factor:.1f} times the CPU of plain ones", per_s >= SCORED_PER_S_MIN)


def peak(options):
    """The closed loop of NDJSON batches, and how long checkpoints made the writer pause meanwhile."""
    folder = transactions("ingest_batch")
    print_head(f"NDJSON, {BATCH_ROWS:,} events a post, ten features over {ACCOUNTS:,} accounts")
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        posts = ndjson(options, folder)
        fill(server, posts, FILLED)
        before = histogram.buckets(server.metrics(), PAUSE)
        figures = measured(options, server, posts, "max", "closed loop")
        paused = lambda: histogram.between(before, histogram.buckets(server.metrics(), PAUSE))
        server.wait_until(lambda: max(paused().values(), default=0) > 0, CHECKPOINT_S_MAX)
        figures["pause_p99_s_max"] = histogram.at_most(paused(), 0.99)
        check_known(server)
    return figures


def check_known(server):
    """A server that takes events in but knows nothing must not pass."""
    answer = server.read("account_v1", [{"account_id": FIRST_ACCOUNT + number} for number in range(100)])
    known = sum(next(iter(answer["known"].values())))
    assert known > 50, f"of 100 accounts {known} are known"


def arrow(options):
    folder = records("ingest_arrow")
    posts = arrow_records(options, folder)
    print_head(f"Arrow IPC, {posts.rows:,} records of 100 bytes a post, no views")
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        figures = measured(options, server, posts, "max", "closed loop")
    write_results("ingest", {"arrow": figures})
    return promised(f"{ARROW_PER_S_MIN:,} records/s: {figures['events_per_s']:,}", figures["events_per_s"] >= ARROW_PER_S_MIN)


def single(options):
    folder = transactions("ingest_single")
    print_head(f"one event a post, {SINGLE_CONNECTIONS} connections")
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        fill(server, ndjson(options, folder), FILLED)
        posts = ndjson(options, folder, 1, content_type="application/json", connections=SINGLE_CONNECTIONS)
        figures = measured(options, server, posts, SINGLE_RATE)
    write_results("ingest", {"single": figures})
    return all([
        promised(f"{SINGLE_RATE:,}/s", is_answered(figures, SINGLE_RATE)),
        promised(f"p99 < {SINGLE_P99_US_MAX / 1_000:g} ms", figures["p99_us"] < SINGLE_P99_US_MAX),
    ])


def half(options):
    """Posts and reads at the same time, each from a generator of its own."""
    rate = round(peak(options)["events_per_s"] / 2)
    folder, rows = transactions("ingest_half"), options.half_rows
    print_head(f"{rate:,} events/s in batches of {rows:,}, beside {READ_RATE:,} reads/s")
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        fill(server, ndjson(options, folder), FILLED)
        posts, reads = ndjson(options, folder, rows), reads_of_accounts(options, folder)
        pairs = [side_by_side(options, server, posts, rate, reads) for _ in range(options.runs)]
    written, read = median([one for one, _ in pairs]), median_of([other for _, other in pairs])
    print_row("posts", rate // rows, written)
    print_row("reads", READ_RATE, read)
    write_results("ingest", {"half": {"posts": written, "reads": read}})
    return all([
        promised(f"{rate:,} events/s", is_answered(written, rate / rows)),
        promised(f"{READ_RATE:,} reads/s", is_answered(read, READ_RATE)),
        promised(f"reads: p99 < {READ_P99_US_MAX / 1_000:g} ms", read["p99_us"] < READ_P99_US_MAX),
        *(promised(f"posts: {of[:-3]} < {bound_us / 1_000:g} ms", written[of] < bound_us) for of, bound_us in HALF_US_MAX.items()),
    ])


def reads_of_accounts(options, folder):
    chance = random.Random("reads")
    calls = [[{"account_id": FIRST_ACCOUNT + chance.randrange(ACCOUNTS)}] for _ in range(20_000)]
    return Load(options.open_loop, write_bodies(folder / "reads.jsonl", calls), "account_v1")


def side_by_side(options, server, posts, rate, reads):
    """The reports of both generators."""
    reports = []
    reader = threading.Thread(target=lambda: reports.append(reads.run(server, READ_RATE, options.seconds, options.warm_up)))
    reader.start()
    written = posts.run(server, rate, options.seconds, options.warm_up)
    reader.join()
    return written, reports[0]


def measured(options, server, posts, events_per_s, name="open loop"):
    report = median([posts.run(server, events_per_s, options.seconds, options.warm_up) for _ in range(options.runs)])
    print_row(name, events_per_s, report)
    print(f"\n{report['events_per_s']:,} events/s, {report['events_per_cpu_s']:,} per processor second\n", flush=True)
    return report


def median(reports):
    """As `median_of`, with the range of what counts for posts as well."""
    merged = median_of(reports)
    for name in ("events_per_s", "events_per_cpu_s"):
        merged[name] = round(statistics.median(report[name] for report in reports))
        merged["from_to"][name] = [min(report[name] for report in reports), max(report[name] for report in reports)]
    return merged


if __name__ == "__main__":
    main()
