"""Runs whole processes and measures them from outside: wall time, CPU time and peak memory, as the kernel counts them.

This module, like every section up to its measurements, imports only the standard library: on Linux a child starts with
the peak memory of the process that started it, so the runner must stay small.
"""

import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

THREADS = 2


@dataclass
class Contender:
    """A command that reads files and writes `out`."""

    name: str
    command: list
    out: Path

    def run(self):
        self.out.unlink(missing_ok=True)  # an old answer must not pass for a new one
        environment = {**os.environ, "POLARS_MAX_THREADS": str(THREADS)}
        with tempfile.TemporaryFile() as said:
            began = time.perf_counter()
            process = subprocess.Popen([str(word) for word in self.command], stdout=said, stderr=said, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)  # it is reaped: tell the object
            if process.returncode != 0:
                said.seek(0)
                raise SystemExit(f"`{self.name}` failed: {said.read().decode(errors='replace')}")
        if not self.out.exists():
            raise SystemExit(f"`{self.name}` ended well but wrote no `{self.out}`")
        return Measurement(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@dataclass
class Measurement:
    wall_s: float
    cpu_s: float
    peak_mib: float


@dataclass
class Result:
    """All runs of one contender."""

    name: str
    runs: list

    def wall_s(self):
        return statistics.median(run.wall_s for run in self.runs)

    def cpu_s(self):
        return statistics.median(run.cpu_s for run in self.runs)

    def peak_mib(self):
        return max(run.peak_mib for run in self.runs)

    def row(self):
        walls = [run.wall_s for run in self.runs]
        return [f"{self.wall_s():.2f}", f"{min(walls):.2f} to {max(walls):.2f}", f"{self.cpu_s():.2f}", f"{self.peak_mib():.0f}"]


def race(contenders, runs):
    """Runs the contenders in turn, `runs` times over, so that a slow minute of the machine meets them all."""
    results = {one.name: Result(one.name, []) for one in contenders}
    for _ in range(runs):
        for one in contenders:
            results[one.name].runs.append(one.run())
    return list(results.values())


def print_race(title, results, limits=""):
    """One table of a race; the last column says how many times longer than asof each contender took."""
    asof = next((result for result in results if result.name == "asof"), None)
    print(f"\n### {title}\n{limits}\n")
    print("| contender | median s | from, to | CPU s | peak MiB | times asof's |\n|---|---:|---:|---:|---:|---:|")
    for result in results:
        ratio = f"{result.wall_s() / asof.wall_s():.2f}" if asof else "–"
        print(f"| {result.name} | " + " | ".join(result.row()) + f" | {ratio} |")
    print(flush=True)


def write_csv(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(header)] + [",".join(str(cell) for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
