"""The projects of Asof that read a topic: the ten features of bench/project, and their stream alone.

The stream has every field of the message, as Flink's table of the same topic does, and no primary key: neither side looks
for events that come twice.
"""

from serving.live_projects import FILE, SETTINGS
from serving.projects import TEN, live, replaced

STREAM, VIEW = "events", "account_features"
MORE_COLUMNS = "  transaction_id VARCHAR NOT NULL,\n  device_id BIGINT NOT NULL,\n  country VARCHAR,\n"
FIRST_COLUMN = "  account_id  BIGINT"
APPENDED = "  appended_at  TIMESTAMP METADATA FROM 'timestamp',\n"
FED = " WITH (connector = 'kafka', topic = '{topic}', format = '{format}', timestamp_unit = 'us')"
SINK = """
CREATE SINK out WITH (connector = 'kafka', topic = '{out}', key = 'account_id', delivery = '{delivery}', commit_interval = '{commit_ms} ms') AS
SELECT transaction_id, account_id, merchant_id, amount, country, ts, appended_at FROM events;
"""


def features(brokers, topic, format="json", settings=""):
    """The folder of the project, new and without any event."""
    return fed(f"topic_{topic}", brokers, topic, TEN.read_text(), format, settings)


def stream_alone(brokers, topic):
    """The same stream, whose events no view reads."""
    return fed(f"topic_{topic}_alone", brokers, topic, stream_of())


def sink(brokers, topic, out, delivery, commit_ms):
    """The same, and a sink that writes every event to another topic."""
    stream = replaced(stream_of(), FIRST_COLUMN, APPENDED + FIRST_COLUMN)
    text = stream + SINK.format(out=out, delivery=delivery, commit_ms=commit_ms)
    return fed(f"topic_{topic}_sink", brokers, topic, text)


def stream_of():
    return TEN.read_text().partition("CREATE FEATURE VIEW")[0]


def fed(name, brokers, topic, text, format="json", settings=""):
    text = replaced(replaced(text, FILE, FED.format(topic=topic, format=format)), FIRST_COLUMN, MORE_COLUMNS + FIRST_COLUMN)
    return live(name, {"features.sql": text}, f'{SETTINGS}[kafka]\nbrokers = "{brokers}"\n{settings}')
