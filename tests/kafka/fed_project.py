"""A project that reads a topic, what is written into the topic, and what the project has to answer.

The truth is what an independent consumer reads from the topic with `read_committed`: value by value, with its place.
"""

import json
import random
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
PARTITIONS = 12
ACCOUNTS = 40
LATENESS_S = 60
READ_S_MAX = 120
CALL_S = 30

SQL = """
CREATE STREAM payments (
  payment_id BIGINT NOT NULL,
  account_id BIGINT NOT NULL,
  amount     DECIMAL(12,2),
  ts         TIMESTAMP NOT NULL,
  said       VARCHAR METADATA FROM 'key',
  written_at TIMESTAMP METADATA FROM 'timestamp',
  headers    VARCHAR METADATA FROM 'headers',
  part       INTEGER METADATA FROM 'partition',
  place      BIGINT METADATA FROM 'offset',
  PRIMARY KEY (payment_id),
  WATERMARK FOR ts AS ts - INTERVAL '{lateness}' SECOND
) WITH (connector = 'kafka', topic = '{topic}', format = 'json', timestamp_unit = 'us'{options});

CREATE FEATURE VIEW accounts AS
SELECT account_id, count(*) OVER w AS payments, sum(amount) OVER w AS spent, sum(place) OVER w AS places,
       count(*) OVER m AS payments_1m
FROM payments
WINDOW w AS (PARTITION BY account_id ORDER BY ts),
       m AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '1' MINUTE PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW partitions AS
SELECT part, count(*) OVER w AS payments, sum(place) OVER w AS places, max(place) OVER w AS last_place,
       count(said) OVER w AS keys, count(written_at) OVER w AS timestamps, max(headers) OVER w AS headers
FROM payments
WINDOW w AS (PARTITION BY part ORDER BY ts);

CREATE STREAM seconds AS
SELECT account_id, window_start, count(*) AS payments, sum(amount) AS spent
FROM TABLE(TUMBLE(TABLE payments, DESCRIPTOR(ts), INTERVAL '1' SECOND))
GROUP BY account_id, window_start, window_end;

CREATE FEATURE VIEW closed AS
SELECT account_id, sum(payments) OVER w AS payments, sum(spent) OVER w AS spent
FROM seconds
WINDOW w AS (PARTITION BY account_id ORDER BY window_time);
"""


def write(folder, brokers, topic, lateness_s=LATENESS_S, options="", settings=""):
    """The project; gives its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "payments.sql").write_text(SQL.format(topic=topic, lateness=lateness_s, options=options))
    (folder / "asof.toml").write_text(f'[kafka]\nbrokers = "{brokers}"\n{settings}')
    return folder


class Payments:
    """Writes payments, some of them twice, and now and then what is no payment at all."""

    def __init__(self, cluster, topic, seed, partitions=PARTITIONS):
        self.chance, self.topic, self.partitions = random.Random(seed), topic, partitions
        self.producer = Producer(cluster.settings_of_client(acks="all", enable_idempotence=True, compression_type="zstd"))
        self.number, self.failures = 0, []

    def send(self, count):
        for _ in range(count):
            self.number += 1
            # Skewed: the first partitions have most of it.
            partition = min(int(self.chance.expovariate(0.5)), self.partitions - 1)
            value = self.value(self.number)
            times = 2 if self.chance.random() < 0.02 else 1
            if self.chance.random() < 0.01:
                value = self.chance.choice(['{"payment_id": "no number"}', "no json", None])
            for _ in range(times):
                self.put(value, partition)
            self.producer.poll(0)

    def value(self, number):
        ts_us = time.time_ns() // 1_000 - self.chance.randrange(20_000_000)
        account, amount = self.chance.randrange(ACCOUNTS), self.chance.randrange(1, 100_000)
        return json.dumps({"payment_id": number, "account_id": account, "amount": f"{amount / 100:.2f}", "ts": ts_us})

    def put(self, value, partition):
        settings = {"key": str(self.number), "headers": {"n": str(partition)}} if value else {}
        while True:
            try:
                self.producer.produce(self.topic, value, partition=partition, on_delivery=self.delivered, **settings)
                return
            except BufferError:
                self.producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError._UNKNOWN_PARTITION:
                    raise
                self.producer.list_topics(self.topic, CALL_S)  # it is a new one

    def delivered(self, error, _):
        if error:
            self.failures.append(error)

    def flush(self):
        return self.producer.flush(READ_S_MAX) == 0 and not self.failures


def write_aborted(cluster, topic, partitions, rows):
    """A transaction that is aborted when its records are in the topic: offsets that no reader sees."""
    producer = Producer(cluster.settings_of_client(transactional_id="gives up"))
    producer.init_transactions(CALL_S)
    producer.begin_transaction()
    for row in range(rows):
        producer.produce(topic, json.dumps({"payment_id": -row, "account_id": 0, "ts": 0}), partition=row % partitions)
    producer.flush(CALL_S)
    producer.abort_transaction(CALL_S)


def read_topic(cluster, topic, partitions):
    """What is committed, as (partition, offset, value)."""
    consumer = Consumer(cluster.settings_of_client(group_id="truth", enable_partition_eof=True, isolation_level="read_committed"))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    found, ended, until = [], set(), time.monotonic() + READ_S_MAX
    while len(ended) < partitions and time.monotonic() < until:
        for message in consumer.consume(10_000, 0.2):
            if message.error():
                ended.add(message.partition())
            else:
                found.append((message.partition(), message.offset(), message.value()))
    consumer.close()
    return found


class Expected:
    """What the project answers of these messages, of which none is late."""

    def __init__(self, messages):
        self.counts, seen = Counter(), set()
        self.accounts, self.partitions = defaultdict(lambda: [0, Decimal(0), 0]), defaultdict(lambda: [0, 0, -1])
        for partition, offset, value in sorted(messages, key=lambda message: message[:2]):
            payment = payment_of(value)
            if payment is None:
                self.counts["unreadable"] += 1
            elif (partition, payment["payment_id"]) in seen:
                self.counts["duplicate"] += 1
            else:
                seen.add((partition, payment["payment_id"]))
                self.counts["used"] += 1
                self.use(partition, offset, payment)

    def use(self, partition, offset, payment):
        account, own = self.accounts[payment["account_id"]], self.partitions[partition]
        account[0] += 1
        account[1] += Decimal(payment["amount"])
        account[2] += offset
        own[0] += 1
        own[1] += offset
        own[2] = max(own[2], offset)

    def check(self, server, findings):
        """Counts and values as the server answers them now."""
        counts = server.counts("payments")
        told = {"used": counts["used"], "duplicate": counts["duplicate"], "unreadable": counts["rejected"]["unreadable"]}
        wanted = {name: self.counts[name] for name in told}
        findings.claim(told == wanted, f"the server counts {told}, the topic has {wanted}")
        findings.claim(counts["late"] == 0, f"{counts['late']} are late")
        accounts = sorted(self.accounts)
        rows = server.ask("view", "accounts", [{"account_id": account} for account in accounts])["rows"]
        for account, row in zip(accounts, rows):
            payments, spent, places = self.accounts[account]
            told = [number(row[0]), Decimal(row[1]), number(row[2])]
            findings.claim(told == [payments, spent, places], f"account {account}: {row[:3]}, not {payments, spent, places}")
        rows = server.ask("view", "partitions", [{"part": part} for part in sorted(self.partitions)])["rows"]
        for part, row in zip(sorted(self.partitions), rows):
            own = self.partitions[part]
            told = [number(token) for token in row[:5]]
            findings.claim(told == own + [own[0]] * 2, f"partition {part}: {told}, not {own}")
            findings.claim(row[5] == f'{{"n":"{part}"}}', f"partition {part}: headers are {row[5]}")


def payment_of(value):
    try:
        payment = json.loads(value)
        return payment if isinstance(payment["payment_id"], int) else None
    except (TypeError, ValueError):
        return None


def instant_us(text):
    """An instant as the server writes it, in microseconds."""
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - EPOCH) // timedelta(microseconds=1)


def number(token):
    """A number as `tokens` gives it."""
    return int(token.lstrip("#"))


def await_caught_up(server, messages, seconds_max=READ_S_MAX):
    """Until nothing is left to read and as much came in as the topic has. Gives what /v1/objects says of the feed."""
    until = time.monotonic() + seconds_max
    while True:
        status, text = server.call("GET", "/v1/objects/payments")
        told = json.loads(text) if status == 200 else {}
        feed = told.get("feed", {})
        lags = [partition["lag"] for partition in feed.get("partitions", [])]
        if told and told["counts"]["in"] >= messages and lags and not any(lags):
            return feed
        if time.monotonic() > until:
            raise TimeoutError(f"after {seconds_max} s {told.get('counts')} of {messages} came, {feed}\n{server.said()}")
        time.sleep(0.1)
