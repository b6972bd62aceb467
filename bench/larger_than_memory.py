"""About 3 GB of JSONL in random time order, without a limit and in a 1 GiB memory cgroup: the same rows, bit for bit.

    python3 bench/larger_than_memory.py                     16 M events, 3.1 GB
    python3 bench/larger_than_memory.py --events 1000000 --group-mib 256

The events are those of examples/fraud, shuffled over the whole file; the job is `--every-event` of `account_activity`, with
the search for repeated primary keys. Both runs get two threads. The second runs in a memory cgroup below the one that
this script is in (version 1 or 2, whichever is there; this takes the right to make one: root, or a delegated group) and
chooses its own memory limit, as it would in a container. Then both outputs are sorted by primary key, which is unique, and
compared column by column as bytes. Exit 1 if they differ anywhere.

The group counts the page cache as well, so its peak is usually its limit; the process's own peak says what was needed.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from measure import THREADS, Contender, print_race, race, write_csv
from run import BENCH, REPOSITORY, VENV_PYTHON
from workload import GENERATE

VIEW = "account_activity"
PRIMARY_KEY = "transaction_id"
CGROUPS = Path("/sys/fs/cgroup")
MIB = 1 << 20
# The shell moves itself into the group, then becomes the command.
ENTER = 'echo $$ > "$0" && exec "$@"'


def main():
    options = arguments()
    enter_venv()
    folder = made(options.events)
    events = folder / "data" / "transactions.jsonl"
    print(f"{options.events:,} events in {events.stat().st_size / 1e9:.2f} GB of JSONL, random order", flush=True)
    unlimited = contender("asof", options.asof, folder, [])
    with memory_group(options.group_mib * MIB) as group:
        limited = contender(f"asof in {options.group_mib} MiB", options.asof, folder, ["sh", "-c", ENTER, group.entrance])
        results = race([unlimited, limited], options.runs)
        print_race(f"larger than memory: {options.events:,} events, every event of `{VIEW}`", results)
        print(f"the group's peak with page cache: {group.peak_bytes() / MIB:.0f} MiB of {options.group_mib} MiB", flush=True)
    rows = [[options.events, result.name, f"{result.wall_s():.1f}", f"{result.cpu_s():.1f}", f"{result.peak_mib():.0f}"]
            for result in results]
    write_csv(BENCH / "results" / "larger_than_memory.csv", ["events", "run", "wall_s", "cpu_s", "peak_mib"], rows)
    sys.exit(0 if equal(unlimited.out, limited.out, options.events) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=16_000_000, help="about 192 bytes each")
    parser.add_argument("--group-mib", type=int, default=1024, help="the limit of the memory cgroup")
    parser.add_argument("--runs", type=int, default=1, help="runs of each; the median counts")
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    options = parser.parse_args()
    options.asof = options.asof.resolve()
    if not options.asof.exists():
        parser.error(f"no asof at {options.asof}: build it with `cargo build --release`")
    return options


def enter_venv():
    """Goes on inside bench/.venv, which run.py makes."""
    if Path(sys.prefix) == BENCH / ".venv":
        return
    if not VENV_PYTHON.exists():
        raise SystemExit(f"no `{VENV_PYTHON}`: `python3 bench/run.py` makes it")
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])


def made(events):
    """The project folder with its shuffled events, made once."""
    folder = BENCH / "data" / f"random_{events}"
    if not folder.exists():
        print(f"making {folder.name} …", flush=True)
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [GENERATE, "--events", events, "--order", "random", "--format", "jsonl", "--out", unfinished]
        subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
        unfinished.rename(folder)
    return folder


def contender(name, asof, folder, before):
    out = folder / f"out_{name.replace(' ', '_')}.parquet"
    command = [asof, "history", folder, "--view", VIEW, "--every-event", "--threads", THREADS, "--out", out]
    return Contender(name, [*before, *command], out)


@dataclass
class MemoryGroup:
    """A memory cgroup: what is written to enter it, and where its peak is read."""

    entrance: Path
    peak: Path

    def peak_bytes(self):
        return int(self.peak.read_text())


@contextlib.contextmanager
def memory_group(limit_bytes):
    """A memory cgroup below our own, so that whatever limits us limits it too; gone at the end."""
    version, parent = own_group()
    folder = parent / "asof-larger-than-memory"
    limit, peak = {1: ("memory.limit_in_bytes", "memory.max_usage_in_bytes"), 2: ("memory.max", "memory.peak")}[version]
    try:
        folder.mkdir()
    except OSError as error:
        raise SystemExit(f"cannot make the memory cgroup `{folder}`: {error}; a limit on address space would not be the same")
    try:
        (folder / limit).write_text(str(limit_bytes))
        yield MemoryGroup(folder / "cgroup.procs", folder / peak)
    finally:
        folder.rmdir()  # its processes have been waited for


def own_group():
    """The version and the folder of the memory cgroup that this process is in."""
    groups = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    if "memory" in groups:
        return 1, CGROUPS / "memory" / groups["memory"].lstrip("/")
    return 2, CGROUPS / groups[""].lstrip("/")


def equal(one, other, events):
    """Whether two outputs hold the same rows, bit for bit, in whatever order."""
    # Imported here: on Linux a child starts with the peak memory of the process that started it.
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    files = [pq.ParquetFile(path, memory_map=True) for path in (one, other)]
    if files[0].schema_arrow != files[1].schema_arrow:
        print("the outputs have different columns")
        return False
    keys = [file.read([PRIMARY_KEY]).column(0).combine_chunks() for file in files]
    unique = pc.count_distinct(keys[0]).as_py()
    orders = [pc.sort_indices(key) for key in keys]
    same = all(len(key) == len(keys[0]) for key in keys) and 0 < len(keys[0]) <= events and unique == len(keys[0])
    if not same:
        print(f"rows: {len(keys[0]):,} and {len(keys[1]):,}, {unique:,} distinct keys")
        return False
    different = [name for name in files[0].schema_arrow.names if not same_bits(files, orders, name)]
    print(f"{len(keys[0]):,} rows × {len(files[0].schema_arrow)} columns compared bit for bit: ", end="")
    print(f"different in {', '.join(different)}" if different else "equal")
    return not different


def same_bits(files, orders, name):
    columns = [bits(file.read([name]).column(0).combine_chunks().take(order)) for file, order in zip(files, orders)]
    return columns[0].equals(columns[1])


def bits(column):
    """Doubles as the integers of the same bits: NaN equals itself, and -0.0 does not equal 0.0."""
    import pyarrow as pa

    return column.view(pa.int64()) if pa.types.is_float64(column.type) else column


if __name__ == "__main__":
    main()
