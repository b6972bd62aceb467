"""Messages of Avro and Protocol Buffers on a real broker, with a real schema registry: the values are those of JSON.

    target/venv/bin/python tests/kafka/check_formats.py                  all parts
    target/venv/bin/python tests/kafka/check_formats.py --only evolution --rounds 40

| Part | What is done | What must hold |
|---|---|---|
| evolution | a producer moves through five versions of its schema, two of which our columns cannot be read from, in Avro and in Protocol Buffers; now and then bytes that are no message; the server is killed, the registry is paused | values and counts are those of the stream of JSON; counts by schema; dead letters name the reason; nothing stops, and nothing is set aside because the registry is away |
| files | the same without a registry, by schema files; values of JSON behind a registry's framing | the same values |
| types | two types of records in one topic, a stream for each | each stream has its own and passes over the others, also after a restart |
| sinks | one stream to a topic as JSON and as Avro | fastavro reads from the second what the first says; its schema is registered |
| checked | `asof check` beside the registry: columns that are there, that are missing, that cannot be; no registry | it says so |

Needs the binary, Java and Maven (programs.py says which), and the packages of tests/requirements.txt. Exit 1 on any difference.
"""

import datetime
import io
import json
import random
import struct
import subprocess
import time
from collections import Counter
from pathlib import Path

import parts  # first: it says where findings.py and live_server.py are

import fastavro
import orders as made
from cluster import Cluster
from confluent_kafka import Producer
from fed_project import read_topic
from findings import Findings
from live_server import LiveServer
from orders import AvroOrders, Orders, ProtobufOrders
from registry import Registry

WAIT_S = 60
PARTITIONS = 3
VERSIONS = [1, 2, 3, 4, 3, 5, 2]
NO_SUCH_SCHEMA = 4_000_000


def main():
    options = arguments()
    parts.begin(options)
    findings = Findings()
    with parts.working_folder(options, "asof-formats-") as work:
        folder = Path(work)
        with Cluster(folder / "kafka") as cluster, Registry(folder) as registry:
            check = lambda part, own: PARTS[part](Setting(options, own, cluster, registry, findings))
            parts.run(options.only or PARTS, folder, check, findings)
    parts.finish(findings)


def arguments():
    made = parts.parser(__doc__, PARTS)
    made.add_argument("--rounds", type=int, default=14, help="turns of the producer, a version each")
    made.add_argument("--messages", type=int, default=400, help="of each turn")
    return parts.read(made)


class Setting:
    def __init__(self, options, folder, cluster, registry, findings):
        self.options, self.folder, self.cluster, self.registry, self.findings = options, folder, cluster, registry, findings
        self.name, self.chance = folder.name, random.Random(options.seed)
        self.producer = Producer(cluster.settings_of_client(acks="all", enable_idempotence=True))
        self.orders = Orders(options.seed, time.time_ns() // 1_000 - 60_000_000)

    def topic(self, name):
        topic = f"{self.name}-{name}"
        self.cluster.create_topic(topic, partitions=PARTITIONS)
        return topic

    def project(self, sql, name="project", registry=True):
        project = self.folder / name
        project.mkdir()
        (project / "orders.sql").write_text(sql)
        settings = f'[kafka]\nbrokers = "{self.cluster.bootstrap}"\n'
        if registry:
            settings += f'[schema_registry]\nurl = "{self.registry.url}"\n'
        (project / "asof.toml").write_text(settings)
        return project

    def send(self, topic, value, partition):
        self.producer.produce(topic, value, partition=partition)
        self.producer.poll(0)

    def flush(self):
        if self.producer.flush(WAIT_S):
            raise TimeoutError("not everything was written")


def objects(server, stream):
    status, text = server.call("GET", f"/v1/objects/{stream}")
    return json.loads(text) if status == 200 else {}


def await_read(server, stream, messages):
    """Until as many messages came, and none is left."""
    until = time.monotonic() + WAIT_S
    while True:
        told = objects(server, stream)
        feed = told.get("feed", {})
        lags = [partition["lag"] for partition in feed.get("partitions", [])]
        if told and told["counts"]["in"] >= messages and lags and not any(lags):
            return told
        if time.monotonic() > until:
            raise TimeoutError(f"{stream}: after {WAIT_S} s {told.get('counts')} of {messages} came, {feed}\n{server.said()}")
        time.sleep(0.1)


def compare(setting, server, streams, truth):
    """Counts and every value of each stream are those of another."""
    rows = [{"account_id": account} for account in range(made.ACCOUNTS)]
    expected, counts = server.ask("view", f"{truth}_accounts", rows)["rows"], objects(server, truth)["counts"]
    setting.findings.claim(sum(row[0] != "#0" for row in expected) > made.ACCOUNTS / 2, f"{truth} has few orders: {expected[:3]}")
    for stream in streams:
        found = server.ask("view", f"{stream}_accounts", rows)["rows"]
        for account, (row, wanted) in enumerate(zip(found, expected)):
            setting.findings.claim(row == wanted, f"{stream}, account {account}: {row}, and {truth} has {wanted}")
        told = objects(server, stream)["counts"]
        setting.findings.claim(told == counts, f"{stream} counts {told}, {truth} {counts}")


# -------------------------------------------------------------------------------------------------------- evolution


def check_evolution(setting):
    options, findings, chance = setting.options, setting.findings, setting.chance
    topics = {name: setting.topic(name) for name in ("json", "avro", "protobuf")}
    formats = {
        "avro": AvroOrders(setting.registry, f"{topics['avro']}-value"),
        "protobuf": ProtobufOrders(setting.registry, f"{topics['protobuf']}-value", setting.folder / "schemas"),
    }
    # The versions of one format do not see what those of the other do: a stream of JSON for each.
    streams = {name: made.stream(name, topics[name], f", format = '{name}'") for name in formats}
    truths = {name: setting.topic(f"{name}-as-json") for name in formats}
    sql = "".join(streams.values()) + "".join(made.stream(f"{name}_truth", topic) for name, topic in truths.items())
    sent, by_schema = 0, {name: Counter() for name in formats}
    with LiveServer(options.asof, setting.project(sql), settings=parts.SETTINGS) as server:
        for turn in range(options.rounds):
            version = VERSIONS[turn % len(VERSIONS)]
            if turn == 1:
                setting.registry.pause()
            for _ in range(options.messages):
                order = setting.orders.next()
                partition = chance.randrange(PARTITIONS)
                for name, format in formats.items():
                    if turn == 1 and version not in format.ids:
                        continue  # nobody can register it now: see below
                    value, seen = broken(chance, *format.message(version, order))
                    setting.send(topics[name], value, partition)
                    setting.send(truths[name], seen, partition)
                    sent += name == "avro"
            setting.flush()
            if turn == 1:
                setting.registry.go_on()
            elif turn == 2:
                check_registry_away(setting, server, formats, topics, truths)
                sent += 1
            elif chance.random() < 0.4:
                server.kill()
                server.restart()
        for name in formats:
            messages = len(read_topic(setting.cluster, topics[name], PARTITIONS))
            await_read(server, f"{name}_truth", messages)
            told = await_read(server, name, messages)
            feed = told["feed"]
            findings.claim(not feed["stopped"] and feed["trouble"] is None, f"{name}: {feed}")
            compare(setting, server, [name], f"{name}_truth")
        check_letters(setting, server)
        # All of it once more, so that all of it is counted by schema.
        server.kill()
    with LiveServer(options.asof, setting.project(sql, "again"), settings=parts.SETTINGS) as server:
        for name, format in formats.items():
            found = read_topic(setting.cluster, topics[name], PARTITIONS)
            told = await_read(server, name, len(found))
            await_read(server, f"{name}_truth", len(found))
            compare(setting, server, [name], f"{name}_truth")
            by_schema = Counter(struct.unpack(">I", value[1:5])[0] for _, _, value in found if value and len(value) >= 5 and value[0] == 0)
            schemas = {one["schema"]: one for one in told["feed"]["schemas"]}
            for version, schema in format.ids.items():
                one = schemas.get(schema, {})
                findings.claim(one.get("messages") == by_schema[schema], f"{name} version {version}: {one}, not {by_schema[schema]}")
                is_troubled = "column `" in (one.get("trouble") or "")
                findings.claim(is_troubled == (version not in made.COMPATIBLE), f"{name} version {version}: {one}")
        text = server.call("GET", "/metrics")[1]
        # Two versions, and a number that the registry does not have.
        findings.claim('asof_kafka_unreadable_schemas{stream="avro"} 3' in text, "the metrics do not tell of three schemas")
    return f"{sent} messages in {options.rounds} turns"


def broken(chance, value, seen):
    """Now and then it is no message at all."""
    if chance.random() > 0.03:
        return value, seen
    # Of a message of Protocol Buffers whose end is missing a reader sees fewer fields: it is not told from a whole one.
    others = [None, b"", b"\0", b"{}", struct.pack(">bI", 0, NO_SUCH_SCHEMA) + value[5:], value[:5] + b"\xff" * 40]
    other = chance.choice(others)
    return other, None if other is None else made.NOT_AN_ORDER


def check_registry_away(setting, server, formats, topics, truths):
    """A schema that is new while the registry is away is waited for."""
    findings, name = setting.findings, "avro"
    format = formats[name]
    value, seen = format.message(4, setting.orders.next())
    await_read(server, name, len(read_topic(setting.cluster, topics[name], PARTITIONS)))
    before = objects(server, name)["counts"]
    setting.registry.pause()
    try:
        setting.send(topics[name], value, 0)
        setting.send(truths[name], seen, 0)
        setting.flush()
        until = time.monotonic() + WAIT_S
        while "schema registry" not in ((told := objects(server, name))["feed"]["trouble"] or "") and time.monotonic() < until:
            time.sleep(0.1)
        findings.claim("schema registry" in (told["feed"]["trouble"] or ""), f"an absent registry is not told: {told['feed']}")
        findings.claim(told["counts"] == before, f"the registry is away, and {told['counts']} came of it, before {before}")
    finally:
        setting.registry.go_on()
    told = await_read(server, name, before["in"] + 1)
    findings.claim(told["feed"]["trouble"] is None, f"the registry is back: {told['feed']}")


def check_letters(setting, server):
    """They name the column and the schema, and show the bytes."""
    for name in ("avro", "protobuf"):
        status, text = server.call("GET", f"/v1/streams/{name}/dead-letters?limit=1000")
        letters = json.loads(text)["dead_letters"] if status == 200 else []
        details = Counter(letter["detail"] for letter in letters)
        for words in ("cannot be read: column `account_id`", "the message has no value", f"schema of number {NO_SUCH_SCHEMA}", "zero byte"):
            setting.findings.claim(any(words in detail for detail in details), f"{name}: no dead letter says `{words}`: {details}")


# ------------------------------------------------------------------------------------------------------------ files


def check_files(setting):
    topics = {name: setting.topic(name) for name in ("truth", "bare_avro", "read_as", "bare_protobuf", "framed_protobuf", "framed_json")}
    avro, protobuf = AvroOrders(setting.registry, "files"), ProtobufOrders(setting.registry, "files-protobuf", setting.folder / "schemas")
    reader = made.record([*made.AVRO[3], {"name": "late_field", "type": "string", "default": "x"}])
    type_name = made.PROTOBUF_PLACES[3][1]
    file = f"schema_file = 'schemas/order_3.proto', message = '{type_name}'"
    sql = made.stream("truth", topics["truth"]) + "".join(
        made.stream(name, topics[name], f", {options}")
        for name, options in {
            "bare_avro": "format = 'avro', schema_file = 'schemas/order.avsc'",
            "read_as": "format = 'avro', framing = 'registry', schema_file = 'schemas/reader.avsc'",
            "bare_protobuf": f"format = 'protobuf', {file}",
            "framed_protobuf": f"format = 'protobuf', framing = 'registry', {file}",
            "framed_json": "format = 'json', framing = 'registry'",
        }.items()
    )
    project = setting.project(sql)
    (project / "schemas").mkdir()
    (project / "schemas" / "order.avsc").write_text(json.dumps(made.record(made.AVRO[3])))
    (project / "schemas" / "reader.avsc").write_text(json.dumps(reader))
    protobuf.write(3).rename(project / "schemas" / "order_3.proto")
    (project / "schemas" / "money.proto").write_text(made.MONEY)
    with LiveServer(setting.options.asof, project, settings=parts.SETTINGS) as server:
        for number in range(setting.options.messages):
            order, partition = setting.orders.next(), setting.chance.randrange(PARTITIONS)
            order["price"] = order["price"] or 1.0
            bare, seen = made.avro_body(3, order)
            message, _ = protobuf.body(3, order)
            framed, _ = protobuf.message(3, order)
            values = {
                "truth": seen, "bare_avro": bare, "read_as": avro.message(3, order)[0], "bare_protobuf": message,
                "framed_protobuf": framed, "framed_json": struct.pack(">bI", 0, 17) + seen,
            }
            if number % 50 == 7:
                values = dict.fromkeys(values, b"\xff" * 40)
            for name, value in values.items():
                setting.send(topics[name], value, partition)
        setting.flush()
        for name in topics:
            await_read(server, name, setting.options.messages)
        compare(setting, server, [name for name in topics if name != "truth"], "truth")
    return f"{setting.options.messages} messages in {len(topics)} topics"


# ------------------------------------------------------------------------------------------------------------ types


def check_types(setting):
    findings, options = setting.findings, setting.options
    topic, truth = setting.topic("both"), setting.topic("truth")
    avro = AvroOrders(setting.registry, f"{topic}-value")
    refund = made.record([made.ID, made.WIDE_ACCOUNT, made.MICROS], "Refund")
    refund_id = setting.registry.register(f"{topic}-refunds", refund)
    sql = made.stream("truth", truth) + made.stream("placed", topic, ", format = 'avro', message = 'shop.Order'")
    sql += made.stream("refunds", topic, ", format = 'avro', message = 'shop.Refund'")
    project = setting.project(sql)
    refunds = 0

    def pay(messages, only_refunds=False):
        nonlocal refunds
        for _ in range(messages):
            order, partition = setting.orders.next(), setting.chance.randrange(PARTITIONS)
            if only_refunds or setting.chance.random() < 0.5:
                out = io.BytesIO()
                fastavro.schemaless_writer(out, fastavro.parse_schema(refund, {}), order | {"ts": made.instant(order["ts_us"])})
                setting.send(topic, struct.pack(">bI", 0, refund_id) + out.getvalue(), partition)
                refunds += 1
            else:
                value, seen = avro.message(3, order)
                setting.send(topic, value, partition)
                setting.send(truth, seen, partition)
        setting.flush()

    with LiveServer(options.asof, project, settings=parts.SETTINGS) as server:
        pay(options.messages)
        others = options.messages - refunds
        await_read(server, "truth", others)
        told = await_read(server, "placed", others)
        findings.claim(told["feed"]["passed_over"] == refunds, f"{told['feed']['passed_over']} are passed over, not {refunds}")
        told = await_read(server, "refunds", refunds)
        findings.claim(told["counts"]["used"] == refunds, f"refunds: {told['counts']}, not {refunds}")
        pay(50, only_refunds=True)
        await_read(server, "refunds", refunds)
        await_read(server, "placed", others)
        server.stop()
        server.restart()
        told = await_read(server, "placed", others)
        findings.claim(told["feed"]["passed_over"] <= 50, f"after a restart {told['feed']['passed_over']} are passed over once more")
        compare(setting, server, ["placed"], "truth")
    return f"{others} and {refunds} messages"


# ------------------------------------------------------------------------------------------------------------ sinks

SINKS = """
CREATE SINK as_json WITH (connector = 'kafka', topic = '{json}', key = 'order_id'{options}) AS
SELECT order_id, account_id, amount, price, note, raw, placed, kind, day, ts, amount * 2 AS twice FROM orders;
CREATE SINK as_avro WITH (connector = 'kafka', topic = '{avro}', key = 'order_id', format = 'avro'{options}) AS
SELECT order_id, account_id, amount, price, note, raw, placed, kind, day, ts, amount * 2 AS twice FROM orders;
"""


def check_sinks(setting):
    findings, options = setting.findings, setting.options
    topics = {name: setting.topic(name) for name in ("orders", "json", "avro")}
    sql = made.stream("orders", topics["orders"]) + SINKS.format(**topics, options=", commit_interval = '20 ms'")
    with LiveServer(options.asof, setting.project(sql), settings=parts.SETTINGS) as server:
        for turn in range(4):
            for _ in range(options.messages):
                order = setting.orders.next()
                fields = [name for name in made.AVRO_SEEN[3] if name in ("order_id", "account_id") or setting.chance.random() < 0.8]
                setting.send(topics["orders"], made.as_json(order, fields, order["ts_us"]), setting.chance.randrange(PARTITIONS))
            setting.flush()
            if turn < 3:
                server.kill()
                server.restart()
        rows = 4 * options.messages
        until = time.monotonic() + WAIT_S
        while len(found := read_topic(setting.cluster, topics["avro"], PARTITIONS)) < rows and time.monotonic() < until:
            time.sleep(0.2)
        while len(texts := read_topic(setting.cluster, topics["json"], PARTITIONS)) < rows and time.monotonic() < until:
            time.sleep(0.2)
    latest = setting.registry.latest(f"{topics['avro']}-value")
    schema = fastavro.parse_schema(json.loads(latest["schema"]), {})
    records = {}
    for _, _, value in found:
        magic, number = struct.unpack(">bI", value[:5])
        findings.claim((magic, number) == (0, latest["id"]), f"a value begins with {magic}, {number}; the schema is {latest['id']}")
        record = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema)
        findings.claim(record["order_id"] not in records, f"order {record['order_id']} is there twice")
        records[record["order_id"]] = record
    findings.claim(len(records) == rows == len(texts), f"{len(records)} records and {len(texts)} texts, not {rows}")
    for _, _, text in texts:
        wanted = json.loads(text)
        seen = as_told(records.get(wanted["order_id"], {}))
        findings.claim(seen == wanted, f"Avro says {seen}, JSON {wanted}")
    return f"{rows} rows"


def as_told(record):
    """A record in the words of JSON."""
    import base64
    from decimal import Decimal

    def told(value):
        if isinstance(value, Decimal):
            return str(value)
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        if isinstance(value, datetime.datetime):
            return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return value.isoformat() if isinstance(value, datetime.date) else value

    return {name: told(value) for name, value in record.items()}


# ---------------------------------------------------------------------------------------------------------- checked


def check_checked(setting):
    findings, registry = setting.findings, setting.registry
    options = ", format = 'avro'"

    def checked(name, sql, registry=True, **more):
        project = setting.project(sql, name, registry)
        ran = subprocess.run([setting.options.asof, "check", project], capture_output=True, text=True, **more)
        return ran.returncode, ran.stdout, ran.stderr

    registry.register("whole-value", made.record(made.AVRO[3]))
    code, said, _ = checked("whole", made.stream("orders", "whole", options))
    findings.claim(code == 0 and "stream `orders` can be read by version 1 of subject `whole-value`, schema " in said, f"whole: {code} {said}")
    registry.register("less-value", made.record([made.ID, made.AMOUNT, made.MICROS]))
    code, said, warned = checked("less", made.stream("orders", "less", options))
    findings.claim(code == 0 and "warning: stream `orders`: version 1 of subject `less-value`" in warned and "no field `account_id`: every message is set aside, since it is NOT NULL" in warned, f"less: {warned}")
    findings.claim("no field `note`: it is NULL" in warned, f"less: {warned}")
    registry.register("wrong-value", made.record(made.AVRO[4]))
    code, _, said = checked("wrong", made.stream("orders", "wrong", options))
    findings.claim(code == 1 and 'column `account_id` is BIGINT, and `shop.Order` writes "string"' in said, f"wrong: {code} {said}")
    code, _, said = checked("unknown", made.stream("orders", "nobody", options))
    findings.claim(code == 0 and "no subject `nobody-value` yet" in said, f"unknown: {code} {said}")
    code, _, said = checked("nowhere", made.stream("orders", "whole", options), registry=False)
    findings.claim(code == 1 and "[schema_registry]" in said, f"nowhere: {code} {said}")
    away = {"env": {"ASOF_SCHEMA_REGISTRY__URL": "http://127.0.0.1:9", "NO_COLOR": "1"}}
    code, _, said = checked("away", made.stream("orders", "whole", options), **away)
    findings.claim(code == 0 and "its columns were not compared" in said, f"away: {code} {said}")
    code, _, said = checked("no_file", made.stream("orders", "whole", options + ", schema_file = 'nothing.avsc'"))
    findings.claim(code == 1 and "nothing.avsc" in said, f"no file: {code} {said}")
    registry.register("protobuf-value", made.PROTOBUF[1], "PROTOBUF")
    code, said, warned = checked("protobuf", made.stream("orders", "protobuf", ", format = 'protobuf'"))
    findings.claim(code == 0 and "version 1 of subject `protobuf-value`" in said and "no field `note`" in warned, f"protobuf: {said} {warned}")
    return "the schemas of 8 projects"


PARTS = {
    "evolution": check_evolution,
    "files": check_files,
    "types": check_types,
    "sinks": check_sinks,
    "checked": check_checked,
}

if __name__ == "__main__":
    main()
