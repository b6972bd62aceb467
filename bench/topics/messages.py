"""The card transactions of workload.py as messages of a topic, keyed by account, in their order of arrival.

Event times are made whole milliseconds, and different for each account: Flink's event times are not finer, and its RANGE
frames take in the rows of equal time, of which Asof's `--every-event` counts those of a larger primary key only. No event
comes later than the 30 seconds that both sides wait for. Nothing else is changed.
"""

import json

import duckdb
from confluent_kafka import Producer

from workload import fraud

PARTITIONS = 12
ACCOUNT_SHARE = 10  # events for each account, as in run.py
ROWS = 50_000
WRITE_S_MAX = 600
SETTINGS = {"acks": "all", "enable_idempotence": True, "compression_type": "lz4", "linger_ms": 50, "batch_size": 65_536,
            "queue_buffering_max_messages": 4 * ROWS, "delivery_report_only_error": True}

# The k-th event of an account is at least one millisecond after the one before it.
DISTINCT = """
COPY (
  WITH numbered AS (
    SELECT *, epoch_ms(ts) AS ms, row_number() OVER (PARTITION BY account_id ORDER BY epoch_ms(ts), transaction_id) AS k
    FROM read_parquet('{source}')
  )
  SELECT transaction_id, account_id, merchant_id, device_id, amount, country, arrived,
         make_timestamp(1000 * (k + max(ms - k) OVER (PARTITION BY account_id ORDER BY k))) AS ts
  FROM numbered
  ORDER BY arrived, transaction_id
) TO '{out}' (FORMAT parquet)
"""
MESSAGES = """
SELECT account_id::VARCHAR, to_json({{transaction_id: transaction_id, account_id: account_id, merchant_id: merchant_id,
                                     device_id: device_id, amount: amount, country: country, ts: epoch_us(ts)}})::VARCHAR
FROM read_parquet('{source}')
"""


def transactions(events):
    """The Parquet file of so many events as they are in the topic, made once and kept."""
    project = fraud(events, events // ACCOUNT_SHARE)
    out = project.folder / "data" / "messages.parquet"
    if not out.exists():
        unfinished = out.with_suffix(".unfinished")
        connection().execute(DISTINCT.format(source=project.events, out=unfinished))
        unfinished.rename(out)
    return out


def write(cluster, topic, source, encode=None, **config):
    """Makes the topic and writes each event of the file; without a file the topic stays empty. `encode` makes the value of an
    event's fields, where it is not JSON. Gives the bytes of all values."""
    cluster.create_topic(topic, partitions=PARTITIONS, **config)
    if source is None:
        return 0
    producer, failures, value_bytes = Producer(cluster.settings_of_client(**SETTINGS)), [], 0
    rows = connection().execute(MESSAGES.format(source=source))
    while some := rows.fetchmany(ROWS):
        for key, value in some:
            if encode:
                value = encode(json.loads(value))
            value_bytes += len(value)
            producer.produce(topic, value, key, on_delivery=lambda error, _: failures.append(error))
        while len(producer) > 2 * ROWS:
            producer.poll(0.05)
    left = producer.flush(WRITE_S_MAX)
    if left or failures:
        raise SystemExit(f"{left} messages of {topic} were not written, failures: {failures[:3]}")
    return value_bytes


def connection():
    return duckdb.connect(config={"threads": 2})
