"""What the serving benchmarks share at their start and end: the interpreter, the binaries, the file of results."""

import json
import os
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
REPOSITORY = BENCH.parent
VENV_PYTHON = BENCH / ".venv" / "bin" / "python"


def enter_venv():
    """Goes on inside bench/.venv, which run.py makes."""
    if Path(sys.prefix) == BENCH / ".venv":
        return
    if not VENV_PYTHON.exists():
        raise SystemExit(f"no `{VENV_PYTHON.relative_to(REPOSITORY)}`: `python3 bench/run.py` makes it")
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])


def add_binaries(parser):
    release = REPOSITORY / "target" / "release"
    parser.add_argument("--asof", type=Path, default=release / "asof", help="the binary")
    parser.add_argument("--open-loop", type=Path, default=release / "examples" / "open_loop", help="the load generator")


def check_binaries(parser, options):
    options.asof, options.open_loop = options.asof.resolve(), options.open_loop.resolve()
    for binary in (options.asof, options.open_loop):
        if not binary.exists():
            parser.error(f"no `{binary}`: build both with `cargo build --release --workspace --bins --examples`")


def described():
    """The machine, for the head of a table and of a file of results."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(memory_gib), "kernel": platform.release()}


def print_machine():
    machine = described()
    print("{cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}; server and load generator share it".format(**machine), flush=True)


def write_results(name, figures):
    """Adds the figures to results/NAME.json: sections that were not measured now stay as they were."""
    path = BENCH / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(path.read_text()) if path.exists() else {}
    measured = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    results.update({section: {"measured": measured, "machine": described(), **figure} for section, figure in figures.items()})
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    print(f"\nfigures: {path.relative_to(REPOSITORY)}")
