"""`flink_topic.py --form FORM --backend BACKEND …`: the ten features at every event of a topic, in Flink, by the view's own text.

One JVM with everything in it, two slots, a checkpoint every ten seconds, nothing copied between chained operators. The topic
is read to where it ended when the job began. A streaming query of Flink has one OVER window, so there are three of them:

    nested         each window's rows are the next one's input: one row per event with all ten features. The longest
                   window first, so that the narrowest rows wait longest
    statement_set  three queries over one source, and three sinks: the features of an event are in three rows
    stream_alone   the fields of the event, no window

When the job has ended it prints a line {"pid": of the JVM, "finished_s": on the monotonic clock} and waits for the end of its
standard input, so that whoever started it can look at the JVM while it is there.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

WINDOW = re.compile(r"(\w+) AS \((PARTITION BY .*? CURRENT ROW)\)")
FEATURE = re.compile(r"^\s*(\S.*?)\s+OVER (\w+) AS (\w+)", re.M)
KEPT = ["transaction_id", "account_id", "ts"]
NEEDED = [*KEPT, "merchant_id", "amount", "event_time"]
FIELDS = {"transaction_id": "STRING", "account_id": "BIGINT", "merchant_id": "BIGINT", "device_id": "BIGINT",
          "amount": "DOUBLE", "country": "STRING", "ts": "BIGINT"}
NULLABLE = {"country"}

SOURCE = """
CREATE TABLE events (
  {fields},
  event_time AS TO_TIMESTAMP_LTZ(ts / 1000, 3),
  WATERMARK FOR event_time AS event_time - INTERVAL '30' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}', 'format' = 'json',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'
)
"""
NOWHERE = "'connector' = 'blackhole'"
FILES = "'connector' = 'filesystem', 'format' = 'json', 'path' = '{path}'"


class View:
    """What bench/project/features.sql computes: (aggregate, window, name) of each feature, and the windows, shortest first."""

    def __init__(self, path):
        text = Path(path).read_text().partition("CREATE FEATURE VIEW")[2]
        self.features = FEATURE.findall(text)
        self.windows = {name: " ".join(frame.split()) for name, frame in WINDOW.findall(text)}
        assert len(self.features) == 10 and len(self.windows) == 3, f"{path} is not as expected"

    def names(self, window=None):
        return [name for _, own, name in self.features if window in (None, own)]

    def computed(self, window):
        return [f"{aggregate} OVER {own} AS {name}" for aggregate, own, name in self.features if own == window]

    def columns(self, names):
        """The sink's columns of these features, with types."""
        type_of = {name: "BIGINT" if aggregate.startswith("count(") else "DOUBLE" for aggregate, _, name in self.features}
        return [f"{name} {type_of[name]}" for name in names]

    def query(self, window, selected, source):
        frame = self.windows[window].replace("ORDER BY ts", "ORDER BY event_time")
        columns = ", ".join([*selected, *self.computed(window)])
        return f"SELECT {columns} FROM {source} WINDOW {window} AS ({frame})"


def main():
    options = arguments()
    from pyflink.java_gateway import get_gateway

    environment = table_environment(options)
    fields = [f"{name} {type_of}{'' if name in NULLABLE else ' NOT NULL'}" for name, type_of in FIELDS.items()]
    environment.execute_sql(SOURCE.format(fields=", ".join(fields), topic=options.topic, brokers=options.brokers))
    statements = environment.create_statement_set()
    for sink, (columns, query) in FORMS[options.form](View(options.view)).items():
        where = FILES.format(path=(options.out / sink).as_uri()) if options.out else NOWHERE
        environment.execute_sql(f"CREATE TABLE {sink} ({', '.join(columns)}) WITH ({where})")
        statements.add_insert_sql(f"INSERT INTO {sink} {query}")
    statements.execute().wait()
    pid = get_gateway().jvm.java.lang.ProcessHandle.current().pid()
    print(json.dumps({"pid": pid, "finished_s": time.monotonic()}), flush=True)
    sys.stdin.read()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=FORMS, required=True)
    parser.add_argument("--backend", choices=["hashmap", "rocksdb"], required=True)
    parser.add_argument("--jar", type=Path, required=True, help="the connector for Kafka")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--view", type=Path, required=True, help="features.sql")
    parser.add_argument("--work", type=Path, required=True, help="a folder for checkpoints and state")
    parser.add_argument("--out", type=Path, help="a folder for the rows, as JSON; without it they go nowhere")
    return parser.parse_args()


def table_environment(options):
    from pyflink.common import Configuration
    from pyflink.table import EnvironmentSettings, TableEnvironment

    configuration = Configuration()
    for name, value in {
        "parallelism.default": "2",
        "taskmanager.numberOfTaskSlots": "2",
        "taskmanager.memory.managed.size": "1gb",
        "pipeline.jars": options.jar.as_uri(),
        "pipeline.object-reuse": "true",
        "state.backend.type": options.backend,
        "state.backend.rocksdb.localdir": str(options.work / "rocksdb"),
        "execution.checkpointing.interval": "10s",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.dir": (options.work / "checkpoints").as_uri(),
    }.items():
        configuration.set_string(name, value)
    settings = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration)
    return TableEnvironment.create(settings.build())


def nested(view):
    source, selected = "events", list(NEEDED)
    for window in reversed(view.windows):
        source = f"({view.query(window, selected, source)})"
        selected += view.names(window)
    query = f"SELECT {', '.join(KEPT + view.names())} FROM {source}"
    return {"answers": (kept_columns() + view.columns(view.names()), query)}


def statement_set(view):
    return {
        f"answers_{window}": (kept_columns() + view.columns(view.names(window)), view.query(window, KEPT, "events"))
        for window in view.windows
    }


def stream_alone(_):
    columns = [f"{name} {type_of}" for name, type_of in FIELDS.items()]
    return {"answers": (columns, f"SELECT {', '.join(FIELDS)} FROM events")}


def kept_columns():
    return [f"{name} {FIELDS[name]}" for name in KEPT]


FORMS = {"nested": nested, "statement_set": statement_set, "stream_alone": stream_alone}

if __name__ == "__main__":
    main()
