"""The projects of Asof that read a topic: the ten features of bench/project, and their stream alone.

The stream has every field of the message, as Flink's table of the same topic does, and no primary key: neither side looks
for events that come twice.
"""

from serving.live_projects import FILE, SETTINGS
from serving.projects import TEN, live, replaced

STREAM, VIEW = "events", "account_features"
MORE_COLUMNS = "  transaction_id VARCHAR NOT NULL,\n  device_id BIGINT NOT NULL,\n  country VARCHAR,\n"
FIRST_COLUMN = "  account_id  BIGINT"
FED = " WITH (connector = 'kafka', topic = '{topic}', format = 'json', timestamp_unit = 'us')"


def features(brokers, topic):
    """The folder of the project, new and without any event."""
    return fed(f"topic_{topic}", brokers, topic, TEN.read_text())


def stream_alone(brokers, topic):
    """The same stream, whose events no view reads."""
    return fed(f"topic_{topic}_alone", brokers, topic, TEN.read_text().partition("CREATE FEATURE VIEW")[0])


def fed(name, brokers, topic, text):
    text = replaced(replaced(text, FILE, FED.format(topic=topic)), FIRST_COLUMN, MORE_COLUMNS + FIRST_COLUMN)
    return live(name, {"features.sql": text}, f'{SETTINGS}[kafka]\nbrokers = "{brokers}"\n')
