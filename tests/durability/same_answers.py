"""Whether three ways to the same events give the same values, as text: a server that was killed and started again, a server
that never was and is fed what the log of the first one holds, and `asof history` over that log.
"""

import json
import time

import live_project
from live_server import LiveServer
from producers import CLIENTS
from running_server import Defect, instant_text, tokens

FEED_ROWS = 1_000


def now_us():
    return time.time_ns() // 1_000


def asked(server, as_of_us):
    """The answer of every view and service, by name."""
    return {name: server.ask(kind, name, rows, as_of_us) for kind, name, rows in live_project.targets(len(CLIENTS))}


def compare(where, one, other, findings):
    """Two results of `asked`: values and `known`."""
    for name, answer in one.items():
        theirs = other[name]
        findings.values += len(answer["rows"]) * len(answer["columns"])
        for place, (ours_row, theirs_row) in enumerate(zip(answer["rows"], theirs["rows"], strict=True)):
            if ours_row != theirs_row:
                findings.tell(f"{where}: {name}, row {place}: {ours_row} and {theirs_row}")
        findings.claim(answer["known"] == theirs["known"], f"{where}: {name}: `known` differs")


def check(server, work, findings):
    """All three, as of one instant, after everything was posted. Gives what the server answered, and the instant."""
    as_of_us = now_us()
    answers = asked(server, as_of_us)
    logged = {stream: used_events(server, stream, work) for stream in live_project.WHOLE}
    compare_history(server, answers, as_of_us, work, findings)
    folder = live_project.write(work / "uncrashed")
    with LiveServer(server.asof, folder) as uncrashed:
        for stream, lines in logged.items():
            feed(uncrashed, stream, lines)
        compare("killed, and uncrashed", answers, asked(uncrashed, as_of_us), findings)
    return answers, as_of_us, logged


def used_events(server, stream, work):
    """The used events of a stream's log, as (event time, line of JSON), in the order of their times."""
    view, columns = live_project.WHOLE[stream]
    out = work / f"{stream}.jsonl"
    code, said = server.history("--view", view, "--every-event", "--keep", columns, "--out", out)
    if code != 0:
        raise Defect(f"`asof history` of {view} ended with {code}:\n{said}")
    lines = out.read_text().splitlines()
    return sorted((json.loads(line)["ts"], line) for line in lines)


def names(logged):
    """(client, number) of each event."""
    rows = (json.loads(line) for _, line in logged)
    return [(row["client"], row["number"]) for row in rows]


def feed(server, stream, logged):
    """Posts them in the order of their times, so that none is late."""
    for begin in range(0, len(logged), FEED_ROWS):
        lines = [line for _, line in logged[begin:begin + FEED_ROWS]]
        status, answer = server.post(stream, "\n".join(lines).encode())
        if status != 200 or answer["accepted"] != len(lines):
            raise Defect(f"used events of {stream}, posted in order, were answered with {status}: {answer}")


def compare_history(server, answers, as_of_us, work, findings):
    """`asof history` over the log, at the same instant; by arrival as well, for all of it had arrived by then."""
    for knowledge in ("event-time", "as-served"):
        found = of_history(server, as_of_us, work, knowledge)
        for name, answer in answers.items():
            findings.values += len(answer["rows"]) * len(answer["columns"])
            for place, (ours, theirs) in enumerate(zip(answer["rows"], found[name], strict=True)):
                if ours != theirs:
                    findings.tell(f"served, and history ({knowledge}): {name}, row {place}: {ours} and {theirs}")


def of_history(server, as_of_us, work, knowledge="event-time"):
    """By name the rows of values."""
    found = {}
    for kind, name, rows in live_project.targets(len(CLIENTS)):
        spine, out = work / "spine.jsonl", work / "training.jsonl"
        spine.write_text("".join(json.dumps(row | {"as_of_instant": instant_text(as_of_us)}) + "\n" for row in rows))
        code, said = server.history(f"--{kind}", name, "--spine", spine, "--time-column", "as_of_instant", "--out", out,
                                    "--knowledge", knowledge)
        if code != 0:
            raise Defect(f"`asof history` of {name} ended with {code}:\n{said}")
        given = set(rows[0]) | {"as_of_instant"}
        with open(out) as lines:
            found[name] = [[value for column, value in tokens(line).items() if column not in given] for line in lines]
    return found
