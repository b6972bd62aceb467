"""Ten features over three windows at every event: asof, Polars and DuckDB, from one Parquet file to another."""

import subprocess
import sys

from measure import THREADS, Contender, print_race, race, write_csv
from workload import BENCH, fraud


def run(options):
    """Races every size asked for; false if asof answers anything wrong."""
    rows, passed = [], True
    for events in options.events:
        project = fraud(events, events // 10)
        results = race(contenders(project, options.asof), options.runs)
        print_race(f"every event: {events:,} events of {events // 10:,} accounts", results)
        rows += [[events, result.name, *(f"{value:.3f}" for value in (result.wall_s(), result.cpu_s(), result.peak_mib()))]
                 for result in results]
        passed &= agreed(project, [result.name for result in results])
    write_csv(BENCH / "results" / "every_event.csv", ["events", "contender", "wall_s", "cpu_s", "peak_mib"], rows)
    return passed


def contenders(project, asof):
    scripts, python = BENCH / "contenders", sys.executable
    polars, duckdb = project.out("polars"), project.out("duckdb")
    all_contenders = [
        Contender("Polars", [python, scripts / "polars_every_event.py", project.events, polars], polars),
        Contender("DuckDB", [python, scripts / "duckdb_every_event.py", project.events, duckdb,
                             project.folder / "features.sql"], duckdb),
    ]
    if asof.exists():
        all_contenders.insert(0, asof_every_event(project, asof))
    return all_contenders


def asof_every_event(project, asof):
    out = project.out("asof")
    command = [asof, "history", project.folder, "--view", "account_features", "--every-event", "--threads", THREADS, "--out", out]
    return Contender("asof", command, out)


def agreed(project, names):
    """Compares asof with each peer; the peers with each other while there is no asof."""
    first, *others = names
    exits = []
    for other in others:
        print(f"  {first} against {other}:", flush=True)
        outputs = [project.out(name.lower()) for name in (first, other)]
        exits.append(subprocess.run([sys.executable, BENCH / "agree.py", project.events, "account_id,ts", *outputs]).returncode)
    return first != "asof" or not any(exits)
