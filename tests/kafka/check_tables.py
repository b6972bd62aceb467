"""Tables from topics on a real broker: changes of a database as Debezium writes them, and a compacted topic with tombstones.

    target/venv/bin/python tests/kafka/check_tables.py

Merchants come as changes (snapshot, insert, update, delete, a key that changes, the schema around some of them), devices as the last
value of each key, and payments that are joined with both. The server is killed and started again now and then. The truth is a
model of a few lines here: the row of a key at an instant is the last change that was made until then.

| What | Must hold |
|---|---|
| rows as of now, and as of instants in the past | those of the model, NULL where a row is deleted |
| joined columns of each payment | those of the model at the payment's own time |
| `asof history` | the same values as text |
| what is no change; a truncation; a deletion without a key | a dead letter with its reason |
| the first start, where payments lie before their merchants' topic | tables are read first: nothing is missed |

Needs the binary, Java and Maven (programs.py says which), and the packages of tests/requirements.txt. Exit 1 on any difference.
"""

import json
import random
import time
from collections import Counter
from pathlib import Path

import parts  # first: it says where findings.py and live_server.py are

from cluster import Cluster
from confluent_kafka import Producer
from findings import Findings
from live_server import LiveServer
from running_server import Defect, instant_text, tokens

WAIT_S = 60
PARTITIONS = 3
MERCHANTS, DEVICES = 12, 15
# Time between two changes, and of all of them before now.
STEP_MS = 40
PROJECT = """
CREATE TABLE merchants (
  merchant_id BIGINT,
  category    VARCHAR NOT NULL,
  risk        DOUBLE,
  limit_      DECIMAL(12,2),
  deleted     BOOLEAN,
  changed_at  TIMESTAMP METADATA FROM 'source.timestamp',
  PRIMARY KEY (merchant_id),
  WATERMARK FOR changed_at AS changed_at - INTERVAL '1' HOUR
) WITH (connector = 'kafka', topic = 'shop.public.merchants', format = 'debezium-json', delete_column = 'deleted');

CREATE TABLE devices (
  device_id  BIGINT METADATA FROM 'key',
  model      VARCHAR NOT NULL,
  gone       BOOLEAN,
  written_at TIMESTAMP METADATA FROM 'timestamp',
  PRIMARY KEY (device_id),
  WATERMARK FOR written_at AS written_at - INTERVAL '1' HOUR
) WITH (connector = 'kafka', topic = 'devices', delete_column = 'gone');

CREATE STREAM payments (
  payment_id BIGINT, merchant_id BIGINT, device_id BIGINT, ts TIMESTAMP,
  PRIMARY KEY (payment_id),
  WATERMARK FOR ts AS ts - INTERVAL '1' HOUR
) WITH (connector = 'kafka', topic = 'payments', timestamp_unit = 'us');

CREATE FEATURE VIEW merchant AS SELECT merchant_id, category, risk, limit_ FROM merchants;
CREATE FEATURE VIEW device AS SELECT device_id, model FROM devices;
CREATE FEATURE VIEW by_category AS
SELECT category, count(*) AS merchants, sum(limit_) AS limits FROM merchants GROUP BY category;
CREATE FEATURE VIEW payment AS
SELECT p.payment_id, last_value(m.category) OVER w AS category, last_value(m.limit_) OVER w AS limit_, last_value(d.model) OVER w AS model
FROM payments p
LEFT JOIN merchants FOR SYSTEM_TIME AS OF p.ts m ON p.merchant_id = m.merchant_id
LEFT JOIN devices FOR SYSTEM_TIME AS OF p.ts d ON p.device_id = d.device_id
WINDOW w AS (PARTITION BY p.payment_id ORDER BY p.ts);
"""


def main():
    options = arguments()
    parts.begin(options)
    findings = Findings()
    with parts.working_folder(options, "asof-tables-") as work:
        folder = Path(work)
        with Cluster(folder / "kafka") as cluster:
            parts.run(["tables"], folder, lambda _, own: check(options, own, cluster, findings), findings)
    parts.finish(findings)


def arguments():
    made = parts.parser(__doc__)
    made.add_argument("--changes", type=int, default=600)
    made.add_argument("--rounds", type=int, default=6, help="starts of the server, but for the first each after a SIGKILL")
    return parts.read(made)


class Rows:
    """The model: of each key its changes, as (time in microseconds, row or None)."""

    def __init__(self):
        self.changes = {}

    def set(self, key, ts_us, row):
        self.changes.setdefault(key, []).append((ts_us, row))

    def at(self, key, ts_us):
        row = None
        for from_us, one in self.changes.get(key, []):
            if from_us <= ts_us:
                row = one
        return row


class Shop:
    """A database whose changes are written to topics."""

    def __init__(self, cluster, seed):
        self.chance = random.Random(seed)
        self.producer = Producer(cluster.settings_of_client(acks="all", enable_idempotence=True))
        self.now_ms = time.time_ns() // 1_000_000 - 1_800_000
        self.merchants, self.devices, self.payments = Rows(), Rows(), {}
        self.written, self.set_aside = Counter(), Counter()

    def step(self):
        self.now_ms += STEP_MS
        self.change_merchant()
        self.change_device()
        self.pay()

    # ---------------------------------------------------------------------------------------------------- merchants

    def change_merchant(self):
        chance, key = self.chance, self.chance.randrange(MERCHANTS)
        now_us, old = self.now_ms * 1_000, self.merchants.at(key, self.now_ms * 1_000)
        kind = chance.random()
        if old is None:
            self.merchant("r" if kind < 0.3 else "c", key, None, self.new_merchant())
        elif kind < 0.6:
            self.merchant("u", key, old if kind < 0.5 else None, self.new_merchant())
        elif kind < 0.8:
            self.merchant("d", key, old, None)
            self.put("shop.public.merchants", key, None)  # so that the topic forgets the key
        elif kind < 0.9 and self.merchants.at(other := key + MERCHANTS, now_us) is None:
            # Its primary key changes: Debezium writes the end of the one and the beginning of the other.
            self.merchant("d", key, old, None)
            self.merchant("c", other, None, old)
        elif kind < 0.95:
            odd, reason = chance.choice([
                ({"op": "t", "before": None, "after": None}, "truncation"), ({"before": None}, "no `op`"), ("no change", "invalid JSON"),
                ({"op": "d", "before": None, "after": None}, "no `before`"), ({"op": "u", "after": None}, "has no row"),
            ])
            self.put("shop.public.merchants", key, odd if isinstance(odd, str) else json.dumps(odd))
            self.set_aside[reason] += 1
        else:
            self.put("shop.public.merchants", key, json.dumps({"op": "m", "message": {"prefix": "x"}}))

    def new_merchant(self):
        chance = self.chance
        return {"category": chance.choice(["food", "travel", "games"]), "risk": chance.choice([None, 0.5, chance.random()]),
                "limit_": f"{chance.randrange(1, 10**6) / 100:.2f}"}

    def merchant(self, op, key, before, after):
        image = lambda row: row and {"merchant_id": key} | row
        change = {"before": image(before), "after": image(after), "op": op, "ts_ms": self.now_ms + 5,
                  "source": {"connector": "postgresql", "ts_ms": self.now_ms, "table": "merchants"}}
        if op == "d" and self.chance.random() < 0.5:
            # The least that Postgres writes: the key alone.
            change["before"] = {"merchant_id": key}
        if self.chance.random() < 0.3:
            change = {"schema": {"type": "struct", "fields": []}, "payload": change}
        self.merchants.set(key, self.now_ms * 1_000, after)
        self.put("shop.public.merchants", key, json.dumps(change))

    # ------------------------------------------------------------------------------------------- devices, payments

    def change_device(self):
        key = self.chance.randrange(DEVICES)
        row = None if self.chance.random() < 0.3 else {"model": self.chance.choice(["phone", "till", "web"])}
        self.devices.set(key, self.now_ms * 1_000, row)
        self.put("devices", key, row and json.dumps(row), timestamp=self.now_ms)
        if self.chance.random() < 0.03:
            self.put("devices", "no number", json.dumps({"model": "x"}), timestamp=self.now_ms)

    def pay(self):
        number, ts_us = len(self.payments), self.now_ms * 1_000 - self.chance.randrange(1_000_000)
        merchant, device = self.chance.randrange(2 * MERCHANTS), self.chance.randrange(DEVICES)
        self.payments[number] = (ts_us, merchant, device)
        payment = {"payment_id": number, "merchant_id": merchant, "device_id": device, "ts": ts_us}
        self.put("payments", number, json.dumps(payment))

    def put(self, topic, key, value, **more):
        # A key has one partition, as every client of Kafka sees to.
        partition = key % PARTITIONS if isinstance(key, int) else 0
        self.producer.produce(topic, value, str(key), partition=partition, **more)
        self.producer.poll(0)
        self.written[topic] += 1

    def flush(self):
        if self.producer.flush(WAIT_S):
            raise TimeoutError("not everything was written")


def check(options, folder, cluster, findings):
    for topic in ("shop.public.merchants", "devices", "payments"):
        cluster.create_topic(topic, partitions=PARTITIONS)
    project = folder / "project"
    project.mkdir()
    (project / "shop.sql").write_text(PROJECT)
    (project / "asof.toml").write_text(f'[kafka]\nbrokers = "{cluster.bootstrap}"\n')
    shop, instants = Shop(cluster, options.seed), []
    for _ in range(options.changes):
        shop.step()
    shop.flush()
    with LiveServer(options.asof, project, settings=parts.SETTINGS) as server:
        await_all(server, shop)
        text = server.call("GET", "/metrics")[1]
        findings.claim('asof_stream_rejoined_rows_total{stream="payments"} 0' in text, "payments were joined before the tables were read")
        for turn in range(options.rounds):
            for _ in range(options.changes // options.rounds):
                shop.step()
            instants.append(shop.now_ms * 1_000)
            if turn % 2:
                shop.flush()
            server.kill()
            server.restart()
        shop.flush()
        await_all(server, shop)
        compare(server, shop, instants, findings)
        check_letters(server, shop, findings)
        status, text = server.call("POST", "/v1/streams/merchants/events", '{"merchant_id":1}')
        findings.claim(status == 400 and "table `merchants` reads topic" in text, f"a version over HTTP: {status} {text}")
        compare_history(folder, server, shop, findings)
    return f"{sum(shop.written.values())} messages, {options.rounds} kills"


def await_all(server, shop):
    for name, topic in (("merchants", "shop.public.merchants"), ("devices", "devices"), ("payments", "payments")):
        await_read(server, name, shop.written[topic])


def await_read(server, name, messages):
    until = time.monotonic() + WAIT_S
    while True:
        status, text = server.call("GET", f"/v1/objects/{name}")
        told = json.loads(text) if status == 200 else {}
        lags = [partition["lag"] for partition in told.get("feed", {}).get("partitions", [])]
        if lags and not any(lags):
            return told
        if time.monotonic() > until:
            raise TimeoutError(f"{name}: after {WAIT_S} s {told.get('counts')} of {messages} came\n{server.said()}")
        time.sleep(0.1)


def told(row, names):
    """As a read says it: numbers behind `#`."""
    values = [None if row is None else row[name] for name in names]
    return [f"#{value}" if isinstance(value, float) else value for value in values]


def compare(server, shop, instants, findings):
    merchants, devices = range(2 * MERCHANTS), range(DEVICES)
    for as_of_us in [None, *instants]:
        at_us = as_of_us or time.time_ns() // 1_000
        rows = server.ask("view", "merchant", [{"merchant_id": key} for key in merchants], as_of_us)["rows"]
        for key, row in zip(merchants, rows):
            wanted = told(shop.merchants.at(key, at_us), ["category", "risk", "limit_"])
            findings.claim(row == wanted, f"merchant {key} as of {as_of_us}: {row}, not {wanted}: {shop.merchants.changes.get(key)}")
        rows = server.ask("view", "device", [{"device_id": key} for key in devices], as_of_us)["rows"]
        for key, row in zip(devices, rows):
            wanted = told(shop.devices.at(key, at_us), ["model"])
            findings.claim(row == wanted, f"device {key} as of {as_of_us}: {row}, not {wanted}")
    there = [row for key in merchants if (row := shop.merchants.at(key, time.time_ns()))]
    for category in ("food", "travel", "games"):
        (row,) = server.ask("view", "by_category", [{"category": category}])["rows"]
        own = [one for one in there if one["category"] == category]
        findings.claim(row[0] == f"#{len(own)}", f"category {category}: {row}, not {len(own)}")
    numbers = list(shop.payments)
    for first in range(0, len(numbers), 500):
        part = numbers[first : first + 500]
        rows = server.ask("view", "payment", [{"payment_id": number} for number in part])["rows"]
        for number, row in zip(part, rows):
            ts_us, merchant, device = shop.payments[number]
            wanted = told(shop.merchants.at(merchant, ts_us), ["category", "limit_"]) + told(shop.devices.at(device, ts_us), ["model"])
            findings.claim(row == wanted, f"payment {number}: {row}, not {wanted}")


def check_letters(server, shop, findings):
    _, text = server.call("GET", "/v1/streams/merchants/dead-letters?limit=1000")
    details = Counter(letter["detail"] for letter in json.loads(text)["dead_letters"])
    for reason, count in shop.set_aside.items():
        found = sum(number for detail, number in details.items() if reason in detail)
        findings.claim(found == count, f"{found} letters say `{reason}`, not {count}: {details}")
    findings.claim(sum(details.values()) == sum(shop.set_aside.values()), f"letters: {details}, {shop.set_aside}")


def compare_history(folder, server, shop, findings):
    """The joined columns of each payment, from the log and its Parquet, as text."""
    numbers = list(shop.payments)
    spine, out = folder / "spine.jsonl", folder / "history.jsonl"
    spine.write_text("".join(json.dumps({"payment_id": number, "t": instant_text(shop.payments[number][0])}) + "\n" for number in numbers))
    code, said = server.history("--view", "payment", "--spine", spine, "--time-column", "t", "--out", out)
    if code != 0:
        raise Defect(f"`asof history` ended with {code}:\n{said}")
    lines = out.read_text().splitlines()
    findings.claim(len(lines) == len(numbers), f"{len(lines)} rows of history, not {len(numbers)}")
    for line, number in zip(lines, numbers):
        row = tokens(line)
        ts_us, merchant, device = shop.payments[number]
        wanted = told(shop.merchants.at(merchant, ts_us), ["category", "limit_"]) + told(shop.devices.at(device, ts_us), ["model"])
        found = [row[name] for name in ("category", "limit_", "model")]
        findings.claim(found == wanted, f"payment {number} of history: {found}, not {wanted}")


if __name__ == "__main__":
    main()
