"""The pages of docs/runbook.md for streams that read a topic: each fault, on a real broker, watched by a real Prometheus.

    target/venv/bin/python tests/kafka/check_runbook.py [--asof target/release/asof]

| Page | Fault | Alert |
|---|---|---|
| Brokers are away | SIGKILL of the broker | AsofKafkaTrouble |
| A poison message | messages that are no JSON, and some that break the CHECK | AsofRejectedShare |
| Messages that cannot be read by their schema | a producer that writes a text where there was a number | AsofKafkaUnreadableSchema, and it may be AsofRejectedShare |
| Lag grows | a state that is at its limit | AsofKafkaLagGrows, and it may be AsofKafkaTrouble |
| A stuck transaction | a producer that begins a transaction, and is not heard of again | AsofKafkaHeldBack |
| Messages are gone | records deleted while the server is away | AsofKafkaStopped, likewise; once they are skipped AsofKafkaMessagesLost |

Each page in the same way: no alert fires; the fault makes its alerts fire, and no others; the page's commands are run from top
to bottom and print what it says; `<!-- mended -->` is where the cause has gone away: all is taken in, and no alert fires. The
alerts are those of deploy/, over seconds instead of minutes. Besides, what alerts and panels name of topics is in a real `/metrics`.

The projects are those of docs/kafka.md. Needs the binary, bash, curl, Java and Maven (programs.py says which), the Debian package
`prometheus`, which root gets if it is missing, and the packages of tests/requirements.txt.
"""

import datetime
import io
import json
import signal
import struct
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / name) for name in ("serving", "durability")]

import alerts
import fastavro
import programs
import prometheus
from cluster import Cluster
from confluent_kafka import Producer, TopicPartition
from pages import TopicSession  # first: it says where console.py is
from prometheus import Prometheus
from registry import Registry
from running_server import Defect

from console import REPOSITORY, Command, binary, finish, steps

RUNBOOK, TOPIC, PARTITIONS = "docs/runbook.md", "payments", 3
STARTED = ["…", "listening on …", "…"]
# Seconds and shares under which the conditions can be made while somebody waits.
SMALL = {"AsofRejectedShare": "0.2", "AsofKafkaLagGrows": "1000"}
OWN = [
    "AsofRejectedShare", "AsofKafkaLagGrows", "AsofKafkaTrouble", "AsofKafkaUnreadableSchema", "AsofKafkaHeldBack",
    "AsofKafkaStopped", "AsofKafkaMessagesLost",
]
# What the page shows as the limit; a payment of a card of its own takes some hundred bytes of it.
LITTLE_MEMORY, MANY = "8MiB", 60_000
FIRE_S_MAX, SILENT_S_MAX, CALL_S = 60, 90, 30
GONE = 20
# Longer than the page takes.
HANGS_MS = 600_000
# What the page shows: orders of one customer before the fault, and those that are written once more.
ORDERED, ORDERED_AGAIN, CUSTOMER = 5, 10, 7


def main():
    asof = binary(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    programs.require()
    prometheus.require()
    with tempfile.TemporaryDirectory(prefix="asof-runbook-") as folder:
        folder = Path(folder)
        (folder / "page").mkdir()
        with Cluster(folder / "kafka") as cluster, Registry(folder) as registry:
            session = TopicSession(folder / "page", asof, cluster, registry)
            try:
                with Prometheus(folder / "prometheus", session.port) as watcher:
                    Walk(session, watcher, cluster, registry).run()
            except Defect as defect:
                session.failures.append(str(defect))
            finally:
                session.stop_server(RUNBOOK)
    finish(session.failures, f"{RUNBOOK}, streams that read a topic: {session.compared} commands and alerts")


class Walk:
    """Through the pages, with one server at a time, of the project `cards` but for the page of schemas."""

    def __init__(self, session, watcher, cluster, registry):
        self.session, self.watcher, self.cluster = session, watcher, cluster
        self.producer, self.number = Producer(cluster.settings_of_client(acks="all")), 0
        self.stream, self.orders = TOPIC, Orders(self.producer, registry)

    def run(self):
        for topic in (TOPIC, Orders.TOPIC):
            self.cluster.create_topic(topic, partitions=PARTITIONS)
        for word, argument in steps((REPOSITORY / "docs" / "kafka.md").read_text()):
            if word == "file":
                self.session.write(*argument)
        self.pay(30)
        self.start()
        self.session.wait_ready()
        groups = alerts.rules_of(self.watcher)
        self.check_metrics(groups)
        rules = [rule for rule in alerts.changed(groups, SMALL) if rule["alert"] in OWN]
        self.watcher.load([{"name": "small", "rules": rules}])
        broker = self.cluster.broker(1)
        self.page("Brokers are away", broker.kill, {"AsofKafkaTrouble"}, mend=broker.restart)
        self.page("A poison message", self.poison, {"AsofRejectedShare"}, meanwhile=self.poison, mend=lambda: self.pay(300))
        unread = {"meanwhile": lambda: self.order(2, 10), "mend": lambda: self.order(3, ORDERED_AGAIN)}
        unread |= {"beside": {"AsofRejectedShare"}}
        self.page("Messages that cannot be read by their schema", self.misread, {"AsofKafkaUnreadableSchema"}, **unread)
        self.page("Lag grows", self.fill, {"AsofKafkaLagGrows"}, beside={"AsofKafkaTrouble"})
        gone = {"beside": {"AsofKafkaTrouble"}, "skipped": {"AsofKafkaMessagesLost"}}
        self.page("Messages are gone", self.delete, {"AsofKafkaStopped"}, **gone)
        self.page("A stuck transaction", self.hang, {"AsofKafkaHeldBack"})

    # ------------------------------------------------------------------------------------------------------------ pages

    def page(self, name, fault, expected, mend=None, meanwhile=None, beside=frozenset(), skipped=frozenset()):
        """`beside`: alerts that may fire too; `skipped`: those that fire once it is mended, until the page's next start."""
        began = time.monotonic()
        self.wait_firing(set(), f"before `{name}`")
        fault()
        self.wait_firing(expected, f"`{name}`", beside, meanwhile)
        fired_s = time.monotonic() - began
        for word, argument in steps(section(name)):
            if word == "mended":
                if mend:
                    mend()
                self.wait_firing(skipped, f"`{name}` is mended")
                self.session.wait_for(self.is_caught_up, "to have taken all in")
            elif word == "console":
                for command in argument:
                    self.session.run(command, f"{RUNBOOK}, {name}")
                    if "asof run " in command.text:
                        self.wait_answer()
            else:
                raise ValueError(f"{RUNBOOK}: `<!-- {word} -->` means nothing here")
        self.wait_firing(set(), f"after `{name}`")
        took_s = time.monotonic() - began
        print(f"{name}: {', '.join(sorted(expected))} after {fired_s:.0f} s, all of it {took_s:.0f} s", flush=True)

    def wait_firing(self, expected, when, beside=frozenset(), meanwhile=None):
        """Until these alerts fire, and no others but those beside; their texts are whole."""
        def fires():
            if meanwhile:
                meanwhile()
            return {name for name, _, _ in self.watcher.firing()} - beside == expected

        self.session.compared += 1
        try:
            self.watcher.wait_for(fires, f"{sorted(expected)} to fire", FIRE_S_MAX if expected else SILENT_S_MAX)
        except Defect:
            firing = sorted({name for name, _, _ in self.watcher.firing()})
            self.session.failures.append(f"{when}: {firing} fire, and {sorted(expected)} should")
        for name, _, texts in self.watcher.firing():
            if found := alerts.broken(texts):
                self.session.failures.append(f"{name} is told as {found}")

    def is_caught_up(self):
        feed = self.session.feed(self.stream)
        return feed and feed["partitions"] and not any(one["lag"] or one["held_back"] for one in feed["partitions"])

    def check_metrics(self, groups):
        """What alerts and panels name is there."""
        text = self.session.fetch("/metrics")
        dashboard = json.loads((alerts.DEPLOY / "grafana" / "asof.json").read_text())
        named = [(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]] + alerts.queries(dashboard)
        of_topics = [(where, query) for where, query in named if "asof_kafka_" in query]
        for where, query in of_topics:
            self.session.compared += 1
            missing = [name for name in alerts.METRIC.findall(query) if f"\n{name}{{" not in text]
            if missing:
                self.session.failures.append(f"{where} names {missing}, which /metrics does not have")

    def start(self, words="", project="cards", stream=TOPIC):
        self.stream = stream
        self.session.begin_server(Command(f"{words}asof run {project}", STARTED), RUNBOOK)
        self.wait_answer()

    def wait_answer(self):
        self.session.wait_for(self.is_live, "to answer")

    def is_live(self):
        """Until state is brought back, reads are answered and dead letters are not taken."""
        phase = json.loads(self.session.fetch("/v1/objects") or "{}").get("phase")
        return phase not in (None, "recovering") and self.session.feed(self.stream)

    # ----------------------------------------------------------------------------------------------------------- faults

    def poison(self):
        """As much that is no payment, or a refund, as good payments."""
        self.pay(10)
        for number in range(10):
            self.put("green", "no payment at all" if number % 2 else self.payment(amount="-5.00"))
        self.flush()

    def misread(self):
        """Orders are read; then a release of their producer writes by another schema."""
        self.order(1, ORDERED)
        self.start(project="shop", stream=Orders.TOPIC)
        self.session.wait_for(self.is_caught_up, "to have taken all in")

    def order(self, version, count):
        self.orders.write(version, count)
        self.flush()

    def fill(self):
        """More than a state of little memory holds, each of a card of its own."""
        self.start(f"ASOF_STATE__MEMORY={LITTLE_MEMORY} ")
        self.pay(MANY, cards=MANY)

    def hang(self):
        """A transaction of one message that nobody ends, and payments behind it."""
        self.start()
        self.session.wait_for(self.is_caught_up, "to have taken all in")
        settings = self.cluster.settings_of_client(transactional_id="hangs", transaction_timeout_ms=HANGS_MS)
        self.hanging = Producer(settings)
        self.hanging.init_transactions(CALL_S)
        self.hanging.begin_transaction()
        self.hanging.produce(TOPIC, self.payment(), key="red", partition=0)
        self.hanging.flush(CALL_S)
        self.pay(20, partition=0)

    def delete(self):
        """The server is away, and of what comes then the topic forgets some."""
        self.session.stop_server(RUNBOOK)
        topic = TopicPartition(TOPIC, 0)
        admin = self.cluster.admin()  # held until it has answered
        end = self.end_of(0)
        self.pay(GONE + 10, partition=0)
        topic.offset = end + GONE
        admin.delete_records([topic])[topic].result(CALL_S)
        self.start()

    def end_of(self, partition):
        from confluent_kafka.admin import OffsetSpec

        admin, asked = self.cluster.admin(), TopicPartition(TOPIC, partition)
        return admin.list_offsets({asked: OffsetSpec.latest()})[asked].result(CALL_S).offset

    def pay(self, count, cards=2, partition=None):
        for number in range(count):
            card = ("red", "green")[number % 2] if cards == 2 else f"card {number}"
            self.put(card, self.payment(), partition)
        self.flush()

    def payment(self, amount="1.00"):
        self.number += 1
        return json.dumps({"payment_id": f"p{self.number}", "amount": amount, "ts": time.time_ns() // 1_000})

    def put(self, card, value, partition=None):
        where = {} if partition is None else {"partition": partition}
        while True:
            try:
                return self.producer.produce(TOPIC, value, key=card, **where)
            except BufferError:
                self.producer.poll(0.1)

    def flush(self):
        if self.producer.flush(CALL_S):
            raise Defect(f"not all messages were written within {CALL_S} s")


class Orders:
    """Orders in Avro by three versions of their schema, framed as Confluent's serializers do it."""

    TOPIC = "orders"
    CUSTOMERS = {1: "long", 2: "string", 3: "long"}

    def __init__(self, producer, registry):
        self.producer, self.registry, self.ids, self.number = producer, registry, {}, 0

    def schema(self, version):
        amount = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
        types = {"order_id": "string", "customer": self.CUSTOMERS[version], "amount": amount}
        types["ts"] = {"type": "long", "logicalType": "timestamp-millis"}
        if version == 3:
            types["channel"] = "string"
        fields = [{"name": name, "type": kind} for name, kind in types.items()]
        return {"type": "record", "name": "Order", "namespace": "shop", "fields": fields}

    def write(self, version, count):
        """A version is registered when it is first used."""
        if version not in self.ids:
            self.ids[version] = self.registry.register(f"{self.TOPIC}-value", self.schema(version))
        schema = fastavro.parse_schema(self.schema(version), {})
        for _ in range(count):
            self.number += 1
            order = {"order_id": f"o{self.number}", "customer": str(CUSTOMER) if version == 2 else CUSTOMER, "channel": "web"}
            order |= {"amount": Decimal("20.00"), "ts": datetime.datetime.now(datetime.timezone.utc)}
            value = io.BytesIO(struct.pack(">bI", 0, self.ids[version]))
            value.seek(0, io.SEEK_END)
            fastavro.schemaless_writer(value, schema, order)
            self.producer.produce(self.TOPIC, value.getvalue(), key=str(CUSTOMER))


def section(name):
    """The page's text."""
    text = (REPOSITORY / RUNBOOK).read_text()
    heading = f"\n### {name}\n"
    if heading not in text:
        raise Defect(f"{RUNBOOK} has no page `{name}`")
    return text.split(heading)[1].split("\n## ")[0].split("\n### ")[0]


if __name__ == "__main__":
    main()
