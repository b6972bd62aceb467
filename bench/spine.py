"""The ten features as of 100,000 decisions over 1 M events: asof, Polars and DuckDB."""

import subprocess
import sys

from measure import THREADS, Contender, print_race, race, write_csv
from workload import BENCH, fraud, spined

EVENTS, ACCOUNTS, ROWS = 1_000_000, 100_000, 100_000


def run(options):
    """Races the contenders; false if asof answers anything wrong."""
    project = spined(fraud(EVENTS, ACCOUNTS), ROWS)
    results = race(contenders(project, options.asof), options.runs)
    print_race(f"spine: {ROWS:,} decisions over {EVENTS:,} events of {ACCOUNTS:,} accounts", results)
    rows = [[result.name, *(f"{value:.3f}" for value in (result.wall_s(), result.cpu_s(), result.peak_mib()))] for result in results]
    write_csv(BENCH / "results" / "spine.csv", ["contender", "wall_s", "cpu_s", "peak_mib"], rows)
    return agreed(project, [result.name for result in results])


def contenders(project, asof):
    scripts, python = BENCH / "contenders", sys.executable
    all_contenders = []
    for name, script in [("Polars, join", "polars_spine_join.py"), ("Polars, rolling", "polars_spine_rolling.py"),
                         ("DuckDB", "duckdb_spine.py")]:
        out = output(project, name)
        all_contenders.append(Contender(name, [python, scripts / script, project.events, project.spine, out], out))
    if asof.exists():
        out = output(project, "asof")
        command = [asof, "history", project.folder, "--view", "account_features", "--spine", project.spine,
                   "--threads", THREADS, "--out", out]
        all_contenders.insert(0, Contender("asof", command, out))
    return all_contenders


def output(project, name):
    return project.out("spine_" + name.lower().replace(", ", "_"))


def agreed(project, names):
    first, *others = names
    exits = []
    for other in others:
        print(f"  {first} against {other}:", flush=True)
        outputs = [output(project, name) for name in (first, other)]
        exits.append(subprocess.run([sys.executable, BENCH / "agree.py", project.events, "row", *outputs]).returncode)
    return first != "asof" or not any(exits)
