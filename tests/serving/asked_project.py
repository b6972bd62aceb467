"""A project as the tests ask it: its views and services, the rows to ask for, and what `asof history` answers for them.

Nothing here knows how a value comes about; history is the other side of every comparison.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

import project  # of tests/parity
from running_server import Defect, tokens

SERVICE_ROWS_MAX = 2_000
INSTANT = "as_of_instant"  # the spine's time column


@dataclass
class Target:
    """What can be read: a view or a service."""

    kind: str  # as it stands in paths, without the s
    name: str
    columns: list  # features
    views: list  # whose `known` is answered
    streams: list
    rows: pa.Table  # to ask for
    texts: list  # the same rows as JSON


class Project:
    def __init__(self, asof, folder, rng):
        self.asof, self.folder, self.name = asof, Path(folder).resolve(), Path(folder).name
        self.streams, self.views = project.read(self.folder)
        self.files = {name: self.read_file(stream) for name, stream in self.streams.items()}
        self.times_us = {name: self.event_times_us(name) for name in self.streams}
        self.targets = self.find_targets(rng)

    def read_file(self, stream):
        if stream.options.get("format") != "parquet":
            sys.exit(f"{self.name}: these tests read streams from Parquet, `{stream.name}` has no format = 'parquet'")
        return parquet.read_table(self.folder / stream.options["path"])

    def event_times_us(self, name):
        """In the order of the file."""
        column = self.files[name].column(self.streams[name].time)
        if column.null_count:
            sys.exit(f"{self.name}: `{name}` has events without a time, whose place in a replay these tests do not know")
        return column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()

    def find_targets(self, rng):
        described = json.loads(self.run("check", self.folder, "--format", "json"))["objects"]
        objects = {one["name"]: one for one in described}
        targets = []
        for one in described:
            columns = [feature["name"] for feature in one.get("features", [])]
            if one["kind"] == "feature view":
                keys = [part["name"] for part in one["key"]]
                if keys != self.views[one["name"]].key:
                    sys.exit(f"{self.name}: the key of `{one['name']}` is not made of bare columns")
                rows = with_strangers(distinct(self.files[one["reads"][0]], keys))
                targets.append(Target("view", one["name"], columns, [one["name"]], one["reads"], rows, texts(rows)))
            elif one["kind"] == "feature service":
                streams = sorted({stream for view in one["reads"] for stream in objects[view]["reads"]})
                rows = with_strangers(self.request_rows(one, rng))
                targets.append(Target("service", one["name"], columns, one["reads"], streams, rows, texts(rows)))
        return targets

    def request_rows(self, service, rng):
        """Requests as the example's own spine has them."""
        rows = distinct(parquet.read_table(self.folder / "spine.parquet"), [one["name"] for one in service["request"]])
        return rows.take(sorted(rng.sample(range(rows.num_rows), min(SERVICE_ROWS_MAX, rows.num_rows))))

    def run(self, *arguments):
        command = [str(part) for part in (self.asof, *arguments)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode != 0:
            raise Defect(f"`{' '.join(command)}` ended with {ran.returncode}:\n{ran.stderr}")
        return ran.stdout

    def history(self, target, asked, work, folder=None):
        """What history answers for tables of rows, each as of its instant in microseconds: rows of tokens, in order."""
        spine, out = work / f"{target.name}_spine.parquet", work / f"{target.name}.jsonl"
        tables = []
        for rows, as_of_us in asked:
            instants = pa.array(np.full(rows.num_rows, as_of_us, dtype="int64")).cast(pa.timestamp("us"))
            tables.append(rows.append_column(INSTANT, instants))
        parquet.write_table(pa.concat_tables(tables), spine)
        out.unlink(missing_ok=True)
        self.run("history", folder or self.folder, f"--{target.kind}", target.name, "--spine", spine,
                 "--time-column", INSTANT, "--out", out, "--threads", "1")
        with open(out) as lines:
            found = [[row[column] for column in target.columns] for row in map(tokens, lines)]
        spine.unlink()
        out.unlink()
        return found

    def in_event_order(self, name):
        """The places of a file's rows in the order in which they are taken in: event time, then row number."""
        return np.argsort(self.times_us[name], kind="stable")

    def write(self, folder, position=None, rates=None):
        """The project over other inputs: of each stream the first rows in the order of events, or all of them at a rate."""
        folder.mkdir(parents=True)
        paths = {name: self.folder / stream.options["path"] for name, stream in self.streams.items()}
        if position is not None:
            for name, table in self.files.items():
                # In the order of the file: the order of events is asof's own business.
                places = np.sort(self.in_event_order(name)[:position.get(name, 0)])
                paths[name] = folder / f"{name}.parquet"
                parquet.write_table(table.take(places), paths[name])
        seen = set()

        def replaced(found):
            seen.add(found[2])
            rate = f", rate = '{rates[found[2]]}/s'" if rates else ""
            return f"{found[1]}'{paths[found[2]]}'{rate}"

        for sql in sorted(self.folder.glob("*.sql")):
            pattern = r"(CREATE\s+STREAM\s+(\w+)\b[^;]*?\bpath\s*=\s*)'[^']*'"
            text = re.sub(r"--[^\n]*", "", sql.read_text())
            (folder / sql.name).write_text(re.sub(pattern, replaced, text, flags=re.I))
        if seen != set(self.streams):
            sys.exit(f"{self.name}: found no path of {set(self.streams) - seen}")
        return folder


def distinct(table, columns):
    return table.group_by(columns).aggregate([]).select(columns).sort_by([(name, "ascending") for name in columns])


def with_strangers(rows):
    """The rows, one that never occurs, one for each part with NULL there, and one of NULLs alone."""
    first = rows.slice(0, 1).to_pylist()[0]
    never = {field.name: never_seen(field.type) for field in rows.schema}
    nulls = [first | {name: None} for name in rows.column_names] + [dict.fromkeys(rows.column_names)]
    return pa.concat_tables([rows, pa.Table.from_pylist([never, *nulls], schema=rows.schema)]).combine_chunks()


def never_seen(kind):
    if pa.types.is_integer(kind):
        return -32_768
    if pa.types.is_floating(kind):
        return 0.1
    return datetime(1999, 12, 31, 23, 59, 59, 999_999) if pa.types.is_timestamp(kind) else "never seen"


def texts(rows):
    """Each row as the JSON object of a request."""
    def written(value):
        if isinstance(value, datetime):
            return value.isoformat(timespec="microseconds") + "Z"
        if isinstance(value, date):
            return value.isoformat()
        raise TypeError(f"no JSON for {value!r}")

    return [json.dumps(row, default=written) for row in rows.to_pylist()]
