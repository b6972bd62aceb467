"""The benchmark: `python3 bench/run.py` prints asof beside Polars and DuckDB, in the same run, on the same files.

    python3 bench/run.py                        every event and spine, medians of 3 runs
    python3 bench/run.py every_event --events 1000000
    python3 bench/run.py scaling                cost per event by accounts, window and one hot account; CSV and plot
    python3 bench/run.py all --runs 5

It makes its own virtual environment in bench/.venv from the pinned requirements.txt, and its data in bench/data.
A contender is a whole process, start-up included, with two threads; all read one Parquet file and write Parquet without
compression, which is the fastest for each (asof packs whole numbers and stores doubles plain).
Answers are compared as well as times: see agree.py. Exit 1 if asof answers anything wrong.
"""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parent
VENV_PYTHON = BENCH / ".venv" / "bin" / "python"
SECTIONS = ["every_event", "spine", "scaling"]
DEFAULT_SECTIONS = ["every_event", "spine"]


def main():
    options = arguments()
    enter_venv()
    print_machine(options)
    chosen = SECTIONS if "all" in options.sections else options.sections or DEFAULT_SECTIONS
    passed = [importlib.import_module(section).run(options) for section in chosen]
    sys.exit(0 if all(passed) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="every_event, spine, scaling or all")
    parser.add_argument("--runs", type=int, default=3, help="runs of each contender; the median counts")
    parser.add_argument("--events", default="1000000,10000000", help="sizes of every_event, a tenth as many accounts")
    parser.add_argument("--scaling-events", type=int, default=10_000_000, help="events of each scaling case")
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    options = parser.parse_args()
    unknown = set(options.sections) - {*SECTIONS, "all"}
    if unknown:
        parser.error(f"no section named {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)} and all")
    options.events = [int(size) for size in options.events.split(",")]
    options.asof = options.asof.resolve()
    return options


def enter_venv():
    """Goes on inside bench/.venv, made on first use or when the requirements changed."""
    if Path(sys.prefix) == BENCH / ".venv":
        return
    wanted = (BENCH / "requirements.txt").read_text()
    installed = BENCH / ".venv" / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", BENCH / ".venv"], check=True)
        subprocess.run([VENV_PYTHON, "-m", "pip", "install", "-q", "-r", BENCH / "requirements.txt"], check=True)
        installed.write_text(wanted)
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), str(BENCH / "run.py"), *sys.argv[1:]])


def print_machine(options):
    from importlib.metadata import version

    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    print(f"{cpu}, {os.cpu_count()} cores, {memory_gib:.0f} GiB; Python {sys.version.split()[0]}, ", end="")
    print(f"Polars {version('polars')}, DuckDB {version('duckdb')}; median of {options.runs} runs")
    if not options.asof.exists():
        print(f"no asof at {options.asof}: build it with `cargo build --release` (or name it with --asof); peers only")


if __name__ == "__main__":
    main()
