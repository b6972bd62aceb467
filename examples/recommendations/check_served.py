"""Proves that what is served is what history gives, text for text.

    python check_served.py [--asof BINARY]        needs `duckdb`, and the binary

- Every decision of the spine, asked of one server that has seen all ten days, as of the decision's own instant.
- Servers that stand at some of these instants (`asof run --until`): every user and every item, asked of each view as of then,
  and the decision itself as of now.

The values of an answer and of `asof history --out FILE.jsonl` are compared as the texts that they are written with. Prints
what was compared; exit 1 on any difference, or if nothing was.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.append(str(REPOSITORY / "tests" / "serving"))
from running_server import Server, tokens  # noqa: E402

VIEWS = {"visit": "user_id", "taste": "user_id", "item_hour": "item_id", "item_day": "item_id", "item_heat": "item_id",
         "catalogue": "item_id"}
STANDSTILLS = 3  # servers that stand at an instant
INSTANT = "strftime(ts, '%Y-%m-%dT%H:%M:%S.%fZ')"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    asof = parser.parse_args().asof
    # How far back reads may stand; one hour if nothing is said.
    os.environ["ASOF_STATE__AS_OF_HORIZON"] = "10d"
    connection = duckdb.connect()
    spine = f"(SELECT user_id, item_id, {INSTANT} AS ts FROM read_parquet('{HERE / 'spine.parquet'}'))"
    rows = connection.execute(f"FROM {spine} ORDER BY ALL").fetchall()
    rows = [dict(zip(("user_id", "item_id", "ts"), row)) for row in rows]
    decisions = [list(group) for _, group in groupby(sorted(rows, key=decision), key=decision)]
    tally = Tally()
    served_decisions(asof, decisions, tally)
    for number in range(STANDSTILLS):
        served_at(asof, decisions[(number + 1) * len(decisions) // (STANDSTILLS + 1)], tally)
    print(f"{tally.compared:,} served values are those of history, {tally.different} differ")
    sys.exit(1 if tally.different or not tally.compared else 0)


def decision(row):
    return row["ts"], row["user_id"]


class Tally:
    def __init__(self):
        self.compared = self.different = 0

    def compare(self, name, asked, columns, served, history):
        """Rows of values as they are served, and objects of history."""
        for row, values, other in zip(asked, served, history, strict=True):
            for column, value in zip(columns, values, strict=True):
                self.compared += 1
                if value != other[column]:
                    self.different += 1
                    print(f"DIFFERS {name}.{column} of {row}: {value!r} is served, history has {other[column]!r}")


def served_decisions(asof, decisions, tally):
    rows = [row for one in decisions for row in one]
    history = history_of(asof, "service", "rank_v1", rows)
    with Server(asof, HERE) as server:
        for one in decisions:
            answer = ask(server, "service", "rank_v1", one, one[0]["ts"])
            expected, history = history[:len(one)], history[len(one):]
            tally.compare("rank_v1", one, answer["columns"], answer["rows"], expected)


def served_at(asof, one, tally):
    instant = one[0]["ts"]
    with Server(asof, HERE, "--until", instant) as server:
        for view, key in VIEWS.items():
            rows = [{key: entity} for entity in entities(key)]
            answer = ask(server, "view", view, rows, instant)
            history = history_of(asof, "view", view, [row | {"ts": instant} for row in rows])
            tally.compare(view, rows, answer["columns"], answer["rows"], history)
        now = ask(server, "service", "rank_v1", one, None)
        rows = [row | {"asked_at": now["as_of"]} for row in one]
        history = history_of(asof, "service", "rank_v1", rows, "--time-column", "asked_at")
        tally.compare("rank_v1", one, now["columns"], now["rows"], history)


def entities(key):
    """Every user or item that has an action, and one that has none."""
    found = duckdb.sql(f"SELECT DISTINCT {key} FROM read_parquet('{HERE / 'data' / 'actions.parquet'}') ORDER BY 1").fetchall()
    return [entity for (entity,) in found] + ["nobody"]


def ask(server, kind, name, rows, as_of):
    status, text = server.call("POST", f"/v1/{kind}s/{name}/features", json.dumps({"rows": rows, "as_of": as_of}))
    if status != 200:
        sys.exit(f"{name} as of {as_of}: {status} {text}")
    return tokens(text)


def history_of(asof, kind, name, rows, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        spine, out = Path(folder) / "spine.jsonl", Path(folder) / "out.jsonl"
        spine.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = [asof, "history", HERE, f"--{kind}", name, "--spine", spine, "--out", out, *arguments]
        said = subprocess.run(command, capture_output=True, text=True)
        if said.returncode != 0:
            sys.exit(f"asof history failed on {name}:\n{said.stdout}{said.stderr}")
        return [tokens(line) for line in out.read_text().splitlines()]


if __name__ == "__main__":
    main()
