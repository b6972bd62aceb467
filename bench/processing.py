"""What the processing layer costs on one core: a temporal join, group windows, and how much a frame of 30 days holds.

    cargo build --release --workspace --examples
    python3 bench/processing.py

Each line is a program of `examples/` in crates/feature and crates/window, which makes its events itself and gives them decoded;
its head says what it measures. Medians of --runs, one after the other. Kept are: the join costs less than the view itself
once more; windows that close take at least 500,000 events a second; a read of 30 days takes less than 5 ms at the 99th
percentile. How many events 4 GiB hold is reported: more would have to be kept on disk, which is not there yet. Exit 1 if a
bound is not kept. Figures: bench/results/processing.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from serving.machine import BENCH, described, write_results

FACTOR_MAX = 2.0
EVENTS_PER_S_MIN = 500_000
READ_P99_US_MAX = 5_000


def main():
    options = arguments()
    print("{cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}".format(**described()), flush=True)
    found = {name: run(options, name) for name in ("temporal_join", "group_windows", "long_frame")}
    write_results("processing", found)
    lines = list(judged(found))
    for line, is_kept in lines:
        print(f"  {line:<92} {'kept' if is_kept else 'NOT KEPT'}")
    sys.exit(0 if all(is_kept for _, is_kept in lines) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--target", type=Path, default=BENCH.parent / "target", help="where cargo builds")
    return parser.parse_args()


def run(options, name):
    program = options.target / "release" / "examples" / name
    if not program.exists():
        sys.exit(f"{program} is missing: cargo build --release --workspace --examples")
    runs = []
    for number in range(options.runs):
        print(f"{name}: run {number + 1} of {options.runs}", flush=True)
        runs.append(json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout))
    return median(runs)


def median(runs):
    """Of numbers in the same place of each."""
    if isinstance(runs[0], dict):
        return {name: median([one[name] for one in runs]) for name in runs[0]}
    return statistics.median(runs)


def judged(found):
    join, windows, frame = found["temporal_join"], found["group_windows"], found["long_frame"]
    line = f"view {join['plain_ns']:.0f} ns an event, with columns of a table of {join['rows']:,} rows {join['joined_ns']:.0f} ns"
    yield f"{line}: {join['factor']:.2f} times", join["factor"] < FACTOR_MAX
    for shape in ("tumble", "session"):
        costs = windows[f"stream_{shape}"]
        per_second = 1e9 / (costs["append_ns_per_event"] + costs["close_ns_per_event"])
        yield f"{shape}: {per_second:,.0f} events a second, closed windows read", per_second >= EVENTS_PER_S_MIN
    line = f"30 days: {frame['events'] / 1e6:.0f} M events in {frame['resident_bytes'] / 2**30:.1f} GiB"
    line += f", {frame['state_bytes_per_event']:.1f} bytes of state each"
    yield f"{line}, read p99 {frame['read_p99_us']:.1f} us", frame["read_p99_us"] < READ_P99_US_MAX


main()
