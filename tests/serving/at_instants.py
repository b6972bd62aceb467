"""`asof run --until T`, at rest: every entity as of T, some of them as of earlier, against history.

At each T the server is asked, of every view and service:
  - all rows as of T, where history must give the same text, DuckDB the same `known`, and a count of the files the position;
  - some rows as of half an hour before T and as of the earliest instant that the horizon leaves, likewise;
  - one microsecond before that instant, which must be refused with 422 and name it.
History is run once for a target, over a spine of rows and instants.
"""

import random
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

import duckdb_parity  # of tests/parity: loads a stream's used events
import membership
from running_server import Refused, Server, instant_text, instant_us

AS_OF_HORIZON_US = 3_600_000_000
HALF_AN_HOUR_US = 1_800_000_000
EARLIER_ROWS = 300


@dataclass
class Asked:
    target: object
    until_us: int
    as_of_us: int
    places: list  # of the target's rows
    answer: object


class Stream:
    """What a server must say of a stream, as far as the files tell: sorted event times of all rows, and of the used ones."""

    def __init__(self, connection, project, name):
        duckdb_parity.load(connection, project.streams[name], project.folder)
        self.rows_us = np.sort(project.times_us[name])
        used = connection.execute(f"SELECT epoch_us({project.streams[name].time}) FROM {name} ORDER BY 1").fetchnumpy()
        self.used_us = list(used.values())[0]

    def position(self, until_us):
        return bisect_right(self.rows_us, until_us)

    def newest_us(self, until_us):
        before = bisect_right(self.used_us, until_us)
        return int(self.used_us[before - 1]) if before else None


def instants(project, count, rng):
    """Seeded instants between the first and the last event: anywhere, at an event, just before one, just after one; then
    the very first and the very last event, and the moment before the first."""
    all_us = np.concatenate(list(project.times_us.values()))
    first, last = int(all_us.min()), int(all_us.max())
    chosen = []
    for number in range(count):
        event = int(all_us[rng.randrange(len(all_us))])
        chosen.append([rng.randrange(first, last), event, event - 1, event + 1][number % 4])
    return [*chosen, first - 1, first, last]


def check(project, count, rng, pool, findings, work):
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    streams = {name: Stream(connection, project, name) for name in project.streams}
    chosen = instants(project, count, rng)
    print(f"{project.name}: instants {' '.join(map(instant_text, chosen))}", flush=True)

    def ask(numbered):
        number, until_us = numbered
        return ask_all(project, streams, until_us, number, findings)

    seeds = [rng.randrange(2**32) for _ in chosen]
    by_target = defaultdict(list)
    for asked in pool.map(ask, zip(seeds, chosen)):
        for one in asked:
            by_target[one.target.name].append(one)

    def judge(target):
        compare_with_history(project, target, by_target[target.name], findings, work)

    list(pool.map(judge, project.targets))
    for target in project.targets:
        compare_known(connection, project, target, by_target[target.name], findings)


def ask_all(project, streams, until_us, seed, findings):
    """Starts a server that stands at the instant, and puts all questions to it."""
    rng = random.Random(seed)
    asked = []
    # The two spellings of an instant take turns.
    spelled = (lambda us: us) if seed % 2 else instant_text
    with Server(project.asof, project.folder, "--until", instant_text(until_us)) as server:
        lateness_us = {name: server.described(name)["lateness_ms"] * 1_000 for name in project.streams}
        for target in project.targets:
            def ask(places, as_of_us):
                answer = server.ask(target, [target.texts[place] for place in places], spelled(as_of_us))
                asked.append(Asked(target, until_us, as_of_us, places, answer))
                told(project, target, streams, lateness_us, asked[-1], findings)

            ask(range(len(target.texts)), until_us)
            some = rng.sample(range(len(target.texts)), min(EARLIER_ROWS, len(target.texts)))
            ask(some, until_us - HALF_AN_HOUR_US)
            if (earliest_us := earliest(target, streams, lateness_us, until_us)) is not None:
                ask(some, earliest_us)
                refused(server, project, target, earliest_us, until_us, spelled, findings)
    return asked


def earliest(target, streams, lateness_us, until_us):
    """The horizon before the watermark of the stream that has come furthest; None before any has."""
    newest = [(streams[name].newest_us(until_us), lateness_us[name]) for name in target.streams]
    watermarks = [newest_us - late_us for newest_us, late_us in newest if newest_us is not None]
    return max(watermarks) - AS_OF_HORIZON_US if watermarks else None


def refused(server, project, target, earliest_us, until_us, spelled, findings):
    answer = server.try_ask(target, target.texts[:1], spelled(earliest_us - 1))
    holds = isinstance(answer, Refused) and answer.status == 422 and instant_text(earliest_us) in answer.message
    findings.claim(holds, f"{project.name} until {instant_text(until_us)} {target.name}: one microsecond before "
                          f"{instant_text(earliest_us)} is not refused as it must be: {answer}")


def told(project, target, streams, lateness_us, asked, findings):
    """What an answer says of its instant and its streams."""
    answer = asked.answer
    where = f"{project.name} until {instant_text(asked.until_us)} {target.name} as of {instant_text(asked.as_of_us)}"
    findings.claim(answer.as_of_us == asked.as_of_us, f"{where}: answered as of {instant_text(answer.as_of_us)}")
    for name in target.streams:
        position, newest_us = streams[name].position(asked.until_us), streams[name].newest_us(asked.until_us)
        watermark_us = None if newest_us is None else newest_us - lateness_us[name]
        expected = (position, newest_us, watermark_us)
        found = (answer.position[name], answer.newest_us[name], answer.watermark_us[name])
        findings.claim(found == expected, f"{where}: `{name}` is said to stand at {found}, it stands at {expected}")


def compare_with_history(project, target, asked, findings, work):
    folder = work / f"{project.name}_{target.name}"
    folder.mkdir()
    history = project.history(target, [(target.rows.take(list(one.places)), one.as_of_us) for one in asked], folder)
    begin = 0
    for one in asked:
        end = begin + len(one.places)
        where = f"{project.name} until {instant_text(one.until_us)} as of {instant_text(one.as_of_us)}"
        rows = target.rows.take(list(one.places))
        findings.compare(where, target, rows, one.answer.rows, history[begin:end])
        begin = end
    if begin != len(history):
        findings.tell(f"{project.name} {target.name}: {begin} rows asked, {len(history)} of history")


def compare_known(connection, project, target, asked, findings):
    for name in target.views:
        view = project.views[name]
        columns = [target.rows.take(list(one.places)).select(view.key) for one in asked]
        rows = pa.concat_tables(columns).append_column("row", pa.array(range(sum(len(one.places) for one in asked))))
        instants = np.concatenate([np.full(len(one.places), one.as_of_us, dtype="int64") for one in asked])
        expected = membership.known(
            connection, project.streams[view.stream], view, rows.append_column("instant_us", pa.array(instants))
        )
        served = [known for one in asked for known in one.answer.known[name]]
        wrong = [place for place, (one, other) in enumerate(zip(served, expected, strict=True)) if one is not other]
        findings.claims += len(served) - 1
        first = wrong and (rows.slice(wrong[0], 1).to_pylist()[0], instant_text(int(instants[wrong[0]])))
        findings.claim(not wrong, f"{project.name} {target.name}: known of `{name}` is wrong for {len(wrong)} of "
                                  f"{len(served)} rows, first {first}")
        if not any(expected) or all(expected):
            findings.tell(f"{project.name} {target.name}: known of `{name}` is {expected[0]} everywhere: nothing was checked")
