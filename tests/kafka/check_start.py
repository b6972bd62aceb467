"""The five minutes of docs/kafka.md, on a real broker: every command is run, every output compared.

    target/venv/bin/python tests/kafka/check_start.py [--asof target/release/asof]

The page runs from top to bottom in an empty folder; pages.py says what stands for the broker that it names. Besides, its table of
metrics at docs/reference/http.md is that of /metrics. How a page is read is told in tests/docs/console.py.

Needs the binary, bash, curl, Java and Maven (programs.py says which), and the packages of tests/requirements.txt.
"""

import re
import signal
import sys
import tempfile
from pathlib import Path

import programs
from cluster import Cluster
from pages import TopicSession  # first: it says where console.py is

from console import REPOSITORY, binary, finish, steps

PAGE, REFERENCE, STREAM = "docs/kafka.md", "docs/reference/http.md", "payments"
# Fewer, and a fence was renamed so that nothing is compared.
COMMANDS_MIN = 13
METRIC_ROW = re.compile(r"^\| `(asof_kafka_\w+)` \| (\w+) \| (.+?) \|", re.M)
METRIC = re.compile(r"^(asof_kafka_\w+)\{(.*)\} ", re.M)


def main():
    asof = binary(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    programs.require()
    with tempfile.TemporaryDirectory(prefix="asof-docs-") as folder:
        folder = Path(folder)
        with Cluster(folder / "kafka") as cluster:
            (folder / "page").mkdir()
            session = TopicSession(folder / "page", asof, cluster)
            try:
                for word, argument in steps((REPOSITORY / PAGE).read_text()):
                    take(session, word, argument)
            finally:
                session.stop_server(PAGE)
    if session.compared < COMMANDS_MIN:
        session.failures.append(f"only {session.compared} commands were found, at least {COMMANDS_MIN} are expected")
    finish(session.failures, f"{PAGE}: {session.compared} commands run")


def take(session, word, argument):
    """One step of the page."""
    if word == "file":
        session.write(*argument)
    elif word == "stop":
        compare_metrics(session)
        session.stop_server(PAGE)
    elif word == "kill":
        session.kill_server()
    elif word == "console":
        for command in argument:
            session.run(command, PAGE)
            if command.text.startswith("asof run "):
                session.wait_ready()
    else:
        raise ValueError(f"{PAGE}: `<!-- {word} -->` means nothing here")


def compare_metrics(session):
    """Names, types and labels."""
    text = session.fetch("/metrics")
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
    found = {(name, kinds[name], frozenset(re.findall(r'(\w+)="', labels))) for name, labels in METRIC.findall(text)}
    rows = METRIC_ROW.findall((REPOSITORY / REFERENCE).read_text())
    told = {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    session.compared += 1
    for name, kind, labels in sorted(told ^ found, key=str):
        where = "the page" if (name, kind, labels) in told else "/metrics"
        session.failures.append(f"{REFERENCE}: only {where} has {kind} {name} by {sorted(labels)}")


if __name__ == "__main__":
    main()
