"""Whether Asof and Flink say the same: every feature at every event, joined by the event's id, before anything is timed.

Asof's values are those of `asof history --every-event` over the log that `asof run` filled from the topic; Flink's are what
each form of the query writes to files. agree.py compares them, and settles doubles that are apart by exact arithmetic.
"""

import subprocess
import sys

from serving.machine import BENCH
from serving.server import Server
from topics import messages, projects
from topics.asof_reader import READ_S_MAX, has_all
from topics.flink_reader import FlinkReader
from topics.messages import connection

TOPIC = "agreed"
ROWS = "read_json('{sink}/part-*', format = 'newline_delimited', sample_size = -1) AS {sink.name}"
ANSWERS = "COPY (SELECT * REPLACE (make_timestamp(ts) AS ts) FROM {rows}) TO '{out}' (FORMAT parquet)"


def agreed(options, cluster, work):
    """Whether all forms of Flink's query agree with Asof on a topic of `--agree-events`."""
    source = messages.transactions(options.agree_events)
    messages.write(cluster, TOPIC, source)
    ours = work / "asof.parquet"
    answer_with_asof(options.asof, cluster.bootstrap, options.agree_events, ours)
    exits = []
    for name, form, backend in (("nested", "nested", "hashmap"), ("in three queries", "statement_set", "hashmap"),
                                ("nested, RocksDB", "nested", "rocksdb")):
        print(f"  asof against Flink, {name}:", flush=True)
        theirs = work / f"{form}_{backend}.parquet"
        answer_with_flink(cluster.bootstrap, form, backend, theirs)
        exits.append(subprocess.run([sys.executable, BENCH / "agree.py", source, "transaction_id", ours, theirs]).returncode)
    return not any(exits)


def answer_with_asof(asof, brokers, events, out):
    folder = projects.features(brokers, TOPIC)
    with Server(asof, folder) as server:
        server.wait_until(lambda: has_all(server, events), READ_S_MAX)
    command = [asof, "history", folder, "--view", projects.VIEW, "--every-event", "--keep", "transaction_id", "--out", out]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        raise SystemExit(f"`asof history` ended with {ran.returncode}:\n{ran.stderr}")


def answer_with_flink(brokers, form, backend, out):
    """Runs the job with files as its sinks, and puts their rows together."""
    folder = out.with_suffix("")
    FlinkReader(f"Flink, {form}", brokers, TOPIC, form, backend, folder).run()
    first, *others = [ROWS.format(sink=sink) for sink in sorted(folder.iterdir())]
    rows = first + "".join(f" JOIN {other} USING (transaction_id, account_id, ts)" for other in others)
    connection().execute(ANSWERS.format(rows=rows, out=out))
