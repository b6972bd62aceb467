"""The same bits, served and from history: what `asof run` answers must be, text for text, what `asof history` answers.

    python3 tests/serving/same_bits.py                                  all examples, 20 instants each
    python3 tests/serving/same_bits.py --example fraud --instants 4 --seed 17 --only instants

  instants   `--until T`: every entity of every view, and the services, as of T and as of earlier   (at_instants.py)
  replay     answers while a replay runs, each against history at its own position                   (under_replay.py)
  clock      with the system's clock: windows that empty by time alone                               (system_clock.py)

Prints every difference, then what was compared; exit 1 on any difference, or if nothing was compared. Needs the binary, and
the packages of tests/requirements.txt: `scripts/test` puts them into target/venv.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PARTS = ["instants", "replay", "clock"]
EXAMPLES = ["flights", "fraud", "machines"]
SERVERS_MAX = 2  # at a time


def main():
    options = arguments()
    try:
        import duckdb  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        sys.exit(f"{error}: run it with target/venv/bin/python, which `scripts/test` makes")
    sys.path.append(str(REPOSITORY / "tests" / "parity"))  # which takes a project's SQL apart, and loads its used events
    from findings import Findings
    from running_server import Defect

    # A test run that is given up still stops its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    print(f"seed {options.seed}", flush=True)
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="asof-same-bits-") as work, ThreadPoolExecutor(SERVERS_MAX) as pool:
        for part, name in [(part, name) for part in options.only for name in (options.example if part != "clock" else [None])]:
            before, began = (findings.values, findings.claims), time.monotonic()
            try:
                check(part, name, options, pool, findings, Path(work))
            except Defect as defect:
                findings.tell(f"{part} {name or ''}: {defect}")
            values, claims = findings.values - before[0], findings.claims - before[1]
            if not values:
                findings.tell(f"{part} {name or ''}: no value was compared")
            print(f"{part} {name or ''}: {values:,} values compared with history, {claims:,} other claims checked, "
                  f"{time.monotonic() - began:.1f} s", flush=True)
    print(f"\n{findings.values:,} values compared, {findings.claims:,} claims checked, {findings.wrong:,} differences "
          f"(seed {options.seed})")
    sys.exit(1 if findings.wrong or not findings.values else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    parser.add_argument("--instants", type=int, default=20, help="instants for an example, besides three at its ends")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--example", action="append", choices=EXAMPLES, help="default: all")
    parser.add_argument("--only", action="append", choices=PARTS, help="default: all parts")
    parser.add_argument("--replay-seconds", type=float, default=8, help="how long a replay is made to last")
    options = parser.parse_args()
    options.asof = options.asof.resolve()
    if not options.asof.exists():
        sys.exit(f"no asof at {options.asof}: build it with `cargo build --release`, or name it with --asof")
    options.example = options.example or EXAMPLES
    options.only = options.only or PARTS
    return options


def check(part, name, options, pool, findings, work):
    import at_instants
    import system_clock
    import under_replay
    from asked_project import Project

    # Each part draws from the seed anew, so that one of them can be run again alone.
    rng = random.Random(f"{options.seed} {part} {name}")
    if part == "clock":
        return system_clock.check(options.asof, rng, findings, work)
    project = Project(options.asof, REPOSITORY / "examples" / name, rng)
    if part == "instants":
        return at_instants.check(project, options.instants, rng, pool, findings, work)
    return under_replay.check(project, options.replay_seconds, rng, pool, findings, work)


if __name__ == "__main__":
    main()
