"""A topic of Kafka into features: Asof beside Flink, over the same topic of one real broker on the same cores.

    python3 bench/kafka.py                     values compared on 20,000 events, then 1,000,000 timed, medians of 3 runs
    python3 bench/kafka.py speed --events 10000000 --runs 1
    python3 bench/kafka.py formats sinks       Avro beside JSON; exactly once beside at least once, and how soon a row is committed
    python3 bench/kafka.py --latency           10,000 events/s for 30 s: from the topic to seen by a read over HTTP

| Section | What |
|---|---|
| agree | ten features at every event by `asof history`, over what `asof run` took in, and by Flink: value by value |
| speed | the topic from its beginning to its end: ten features, and reading and parsing alone; CPU, wall time, memory |
| formats | the same events as JSON and as Avro: bytes in the topic, events a second |
| sinks | a topic into a topic: exactly once costs at most 20 % of the throughput of at least once; committed within 200 ms |
| latency | only with --latency: p99 at most 20 ms |

Needs Java 17 and Maven (tests/kafka/programs.py says how to install them); Kafka and Flink's connector come from Maven
Central, Flink and the other packages from PyPI into target/bench-kafka, on the first run some 600 MB. Exit 1 if Asof
answers anything wrong or the bound is not kept. Results: bench/results/kafka.json.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import virtual_environment

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
SECTIONS = ["agree", "speed", "formats", "sinks"]


def main():
    options = arguments()
    virtual_environment.enter(TARGET / "bench-kafka", BENCH / "topics" / "requirements.txt")
    sys.path.append(str(REPOSITORY / "tests" / "kafka"))
    import programs
    from cluster import STEADY, Cluster
    from serving.machine import print_machine
    from topics import agreement, flink_reader, formats, latency, sinks, speed

    programs.require(flink_reader.POM)
    flink_reader.connector()
    print_machine()
    steps = {
        "agree": agreement.agreed, "speed": speed.compared, "formats": formats.compared, "sinks": sinks.kept,
        "latency": latency.kept,
    }
    with tempfile.TemporaryDirectory(prefix="asof-bench-") as folder:
        with Cluster(Path(folder) / "kafka", java_options=STEADY) as cluster:
            kept = [steps[name](options, cluster, Path(folder)) for name in options.sections]
    sys.exit(0 if all(kept) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--runs", type=int, default=3, help="runs of each contender; the median counts")
    parser.add_argument("--events", type=int, default=1_000_000, help="of `speed`; a tenth as many accounts")
    parser.add_argument("--agree-events", type=int, default=20_000, help="of `agree`")
    parser.add_argument("--latency", action="store_true", help="also, or without sections only, the latency")
    parser.add_argument("--rate", type=int, default=10_000, help="events a second of --latency")
    parser.add_argument("--sink-rate", type=int, default=2_000, help="events a second of `sinks`, for its latency")
    parser.add_argument("--seconds", type=float, default=30, help="of --latency, after its warm-up")
    parser.add_argument("--asof", type=Path, default=TARGET / "release" / "asof", help="the binary")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section named {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}, and --latency")
    if not options.asof.exists():
        parser.error(f"no `{options.asof}`: build it with `cargo build --release`")
    options.asof = options.asof.resolve()
    options.sections = (options.sections or ([] if options.latency else SECTIONS)) + ["latency"] * options.latency
    return options


if __name__ == "__main__":
    main()
