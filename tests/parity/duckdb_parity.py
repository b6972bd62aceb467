"""Parity with DuckDB: each view's own text over the same events must give the numbers of `asof history --every-event`.

    python3 tests/parity/duckdb_parity.py                  examples/flights, and 1 M fraud events made for it, with past.sql
    python3 tests/parity/duckdb_parity.py DIR [DIR …]      other projects

Integers, texts, instants, counts, minima, maxima and picks must be equal; sums, means, variances and quantiles of doubles
within 1e-9. Where they are further apart, exact arithmetic judges asof's value (exact.py), at EXACT_ROWS_MAX events of a
feature chosen by hash: a difference is then a value of asof that is not the exact one. Every value of every event is compared,
joined by primary key and event time. Prints a table of the features, exit 1 on any difference.

The events DuckDB sees are the used ones: readable, whole and passing their CHECKs, repeats of a primary key left out.
Left out on purpose is what LANGUAGE says DuckDB does otherwise: NULL keys, which DuckDB groups into an entity.
Makes its own virtual environment in tests/parity/.venv; needs the binary.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
TOLERANCE = 1e-9
EXACT_ROWS_MAX = 50  # of a feature
ROUNDED = re.compile(r"\b(sum|avg|var_pop|var_samp|stddev_pop|stddev_samp|median|quantile_cont)\s*\(|[*/+]|\s-\s", re.I)
FLOATS = {"DOUBLE", "FLOAT"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="*", type=Path)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    parser.add_argument("--events", type=int, default=1_000_000, help="fraud events to make")
    options = parser.parse_args()
    enter_venv()
    if not options.asof.exists():
        sys.exit(f"no asof at {options.asof}: build it with `cargo build --release`, or name it with --asof")
    projects = options.projects or [REPOSITORY / "examples" / "flights", fraud(options.events)]
    print("| project | view | feature | compared | equal | within 1e-9 | apart | of these judged exactly | different |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|")
    total = sum((compare_project(folder.resolve(), options.asof.resolve()) for folder in projects), Counter())
    print(f"\n{total['features']} features of {total['views']} views, {total['compared']:,} values, {total['different']} differences")
    sys.exit(1 if total["different"] or not total["compared"] else 0)


def enter_venv():
    """Goes on inside tests/parity/.venv, made on first use or when the requirements changed."""
    python, wanted = HERE / ".venv" / "bin" / "python", (HERE / "requirements.txt").read_text()
    if Path(sys.prefix) == HERE / ".venv":
        return
    installed = HERE / ".venv" / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", HERE / ".venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
        installed.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])


def fraud(events):
    """The fraud project with that many events, made once."""
    folder = HERE / "data" / f"fraud_{events}"
    if not (folder / "spine.parquet").exists():
        generate = REPOSITORY / "examples" / "fraud" / "generate.py"
        subprocess.run([sys.executable, generate, "--events", str(events), "--out", folder], check=True)
    shutil.copy(HERE / "past.sql", folder)  # a view more, whose frames leave the current row out
    return folder


def compare_project(folder, asof):
    import duckdb

    import project

    streams, views = project.read(folder)
    total = Counter()
    for view in views.values():
        connection = duckdb.connect(config={"threads": 2})
        connection.execute("SET TimeZone = 'UTC'")
        stream = streams[view.stream]
        load(connection, stream, folder)
        out = HERE / "data" / f"{folder.name}_{view.name}.parquet"
        out.parent.mkdir(exist_ok=True)
        out.unlink(missing_ok=True)
        command = [asof, "history", folder, "--view", view.name, "--every-event", "--out", out]
        said = subprocess.run(command, capture_output=True, text=True)
        if said.returncode != 0 or not out.exists():
            sys.exit(f"asof failed on `{view.name}` of {folder}:\n{said.stdout}{said.stderr}")
        connection.execute(f"CREATE TABLE ours AS FROM read_parquet('{out}')")
        total += compare_view(connection, folder.name, stream, view)
        out.unlink()
    return total


def load(connection, stream, folder):
    """The stream's used events as a table of its name, in the order of events."""
    path, form = folder / stream.options["path"], stream.options["format"]
    if form == "parquet":
        source = f"read_parquet('{path}')"
    elif form == "csv":
        source = f"read_csv('{path}', all_varchar = true, header = true)"
    else:
        source = f"read_json('{path}', format = 'newline_delimited')"
    present = {row[0].lower() for row in connection.execute(f"DESCRIBE FROM {source}").fetchall()}
    cast = ", ".join(
        f"CAST({column.name if column.name.lower() in present else 'NULL'} AS {column.type}) AS {column.name}"
        for column in stream.columns
    )
    whole = [f"{column.name} IS NOT NULL" for column in stream.columns
             if column.not_null or column.name in [*stream.primary_key, stream.time]]
    checks = [f"coalesce(({column.check}), true)" for column in stream.columns if column.check]
    order = ", ".join([stream.time, *stream.primary_key, "__offset"])
    connection.execute("SET threads = 1")  # so that the row numbers are those of the file
    connection.execute(f"CREATE TABLE read_in AS SELECT row_number() OVER () AS __offset, {cast} FROM {source}")
    connection.execute("SET threads = 2")
    connection.execute(
        f"CREATE TABLE {stream.name} AS SELECT row_number() OVER (ORDER BY {order}) AS __place, * EXCLUDE __offset "
        f"FROM read_in WHERE {' AND '.join(whole + checks)} ORDER BY {order}"
    )
    if stream.primary_key and stream.enforced:
        drop_repeats(connection, stream)
    connection.execute("DROP TABLE read_in")


def drop_repeats(connection, stream):
    """Leaves out an event whose primary key a used event within the horizon already has; the first stays."""
    keys = ", ".join(stream.primary_key)
    horizon = stream.options.get("dedup_horizon", "1 day")
    horizon_us = connection.execute(f"SELECT epoch_us(INTERVAL '{horizon}')").fetchone()[0]
    repeated = connection.execute(
        f"SELECT __place, epoch_us({stream.time}), {keys} FROM {stream.name} "
        f"QUALIFY count(*) OVER (PARTITION BY {keys}) > 1 ORDER BY __place"
    ).fetchall()
    last_used_us, repeats = {}, []
    for place, ts_us, *key in repeated:
        if ts_us - last_used_us.get(tuple(key), ts_us - horizon_us - 1) <= horizon_us:
            repeats.append((place,))
        else:
            last_used_us[tuple(key)] = ts_us
    if repeats:
        connection.executemany(f"DELETE FROM {stream.name} WHERE __place = ?", repeats)


def compare_view(connection, folder, stream, view):
    """Prints a row for each feature; returns the counts."""
    if not stream.primary_key:
        sys.exit(f"`{stream.name}` has no PRIMARY KEY to join the answers by")
    keyed = " AND ".join(f"({part}) IS NOT NULL" for part in view.key)
    joined = [*stream.primary_key, *({stream.time} - set(stream.primary_key))]
    head = ", ".join(f"{name} AS __join_{name}" for name in joined)
    select = re.sub(r"^SELECT\b", f"SELECT __place, ({keyed}) AS __keyed, {head},", view.select, count=1, flags=re.I)
    connection.execute(f"CREATE TABLE theirs AS SELECT * FROM ({select}) WHERE __keyed")
    on = " AND ".join(f"ours.{name} = theirs.__join_{name}" for name in joined)
    total = Counter(views=1)
    alone = connection.execute(
        f"SELECT count(*) FILTER (ours.{stream.time} IS NULL), count(*) FILTER (theirs.__place IS NULL) "
        f"FROM ours FULL JOIN theirs ON {on}"
    ).fetchone()
    if any(alone):
        print(f"| {folder} | {view.name} | events: {alone[0]:,} only in DuckDB, {alone[1]:,} only in asof | | | | | | {sum(alone)} |")
        total["different"] += sum(alone)
    types = {row[0]: row[1] for row in connection.execute("DESCRIBE ours").fetchall()}
    missing = [feature for feature in view.features if feature not in types]
    if missing:
        sys.exit(f"asof's output of `{view.name}` lacks {', '.join(missing)}")
    for feature, text in view.features.items():
        may_round = types[feature] in FLOATS and ROUNDED.search(text)
        counts = compare_feature(connection, stream, view, feature, on, may_round)
        shown = [f"{counts[name]:,}" for name in ("compared", "equal", "near", "apart", "judged", "different")]
        print(f"| {folder} | {view.name} | {feature} | " + " | ".join(shown) + " |", flush=True)
        total += counts
        total["features"] += 1
    return total


def compare_feature(connection, stream, view, feature, on, may_round):
    a, b = f"ours.{feature}", f"theirs.{feature}"
    near = f"abs({a} - {b}) <= {TOLERANCE} * greatest(abs({a}), abs({b}))" if may_round else "false"
    pairs = f"FROM ours JOIN theirs ON {on}"
    same = f"({a} IS NOT DISTINCT FROM {b})"
    compared, equal, close = connection.execute(
        f"SELECT count(*), count(*) FILTER ({same}), count(*) FILTER (NOT {same} AND coalesce({near}, false)) {pairs}"
    ).fetchone()
    apart = compared - equal - close
    counts = Counter(compared=compared, equal=equal, near=close, apart=apart, different=apart)
    if apart:
        rows = connection.execute(
            f"SELECT theirs.__place, {a}, {b} {pairs} WHERE NOT {same} AND NOT coalesce({near}, false) "
            f"ORDER BY hash(theirs.__place) LIMIT {EXACT_ROWS_MAX}"
        ).fetchall()
        if may_round:
            wrong = [row for row in rows if not asof_is_exact(connection, stream, view, feature, *row[:2])]
            counts.update(judged=len(rows))
            counts["different"] = len(wrong)
            rows = wrong
        if rows:
            print(f"  {view.name}.{feature}: (event, asof, DuckDB) {rows[:3]}", file=sys.stderr)
    return counts


def asof_is_exact(connection, stream, view, feature, place, ours):
    """True if asof's value at the event in that place of the order is the one of exact arithmetic."""
    import exact

    there = f"FROM {stream.name} WHERE __place = {place}"
    same_entity = " AND ".join(f"({part}) = (SELECT {part} {there})" for part in view.key)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE entity AS FROM {stream.name} "
        f"WHERE {stream.time} <= (SELECT {stream.time} {there}) AND {same_entity}"
    )
    return close(ours, exact.value(connection, view, feature, place))


def close(ours, exact_value):
    if ours is None or exact_value is None:
        return ours is exact_value
    return abs(ours - exact_value) <= TOLERANCE * max(abs(ours), abs(exact_value))


if __name__ == "__main__":
    main()
