"""Orders as JSON, Avro and Protocol Buffers, each in several versions of its schema: the same events in every topic.

What a version of a schema does not have is missing in the JSON, too; a version that the stream's columns cannot be read from is no
order in JSON either. So the stream of JSON says what each of the others has to answer. Bytes are made by fastavro and Google's
own protobuf, framed here as Confluent's serializers do it.
"""

import base64
import datetime
import io
import json
import random
import struct
import subprocess
import sys
from decimal import Decimal

import fastavro

ACCOUNTS = 30
KINDS = ["WEB", "SHOP", "PHONE"]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
NOT_AN_ORDER = b"no order"

COLUMNS = """
  order_id   BIGINT NOT NULL,
  account_id BIGINT NOT NULL,
  amount     DECIMAL(12,2),
  price      DOUBLE,
  note       VARCHAR,
  raw        VARBINARY,
  placed     BOOLEAN,
  kind       VARCHAR,
  day        DATE,
  ts         TIMESTAMP NOT NULL,
  PRIMARY KEY (order_id),
  WATERMARK FOR ts AS ts - INTERVAL '600' SECOND
"""
STREAM = """
CREATE STREAM {name} ({columns}) WITH (connector = 'kafka', topic = '{topic}', timestamp_unit = 'us'{options});
CREATE FEATURE VIEW {name}_accounts AS
SELECT account_id, count(*) OVER w AS orders, sum(amount) OVER w AS spent, max(price) OVER w AS price,
       count(price) OVER w AS prices, last_value(note) OVER w AS note, count(note) OVER w AS notes,
       last_value(raw) OVER w AS raw, count(raw) OVER w AS raws, count(*) FILTER (WHERE placed) OVER w AS placed,
       last_value(kind) OVER w AS kind, count(kind) OVER w AS kinds, max(day) OVER w AS day, max(ts) OVER w AS newest,
       sum(order_id) OVER w AS ids
FROM {name}
WINDOW w AS (PARTITION BY account_id ORDER BY ts);
"""


def stream(name, topic, options=""):
    return STREAM.format(name=name, topic=topic, options=options, columns=COLUMNS)


class Orders:
    """Makes orders by chance."""

    def __init__(self, seed, now_us):
        self.chance, self.now_us, self.number = random.Random(seed), now_us, 0

    def next(self):
        self.number += 1
        chance = self.chance
        return {
            "order_id": self.number,
            "account_id": chance.randrange(ACCOUNTS),
            "amount": Decimal(chance.randrange(-100_000, 10_000_000)) / 100,
            "price": chance.choice([0.0, 0.1, 1e300, -2.5, chance.random()]),
            "note": chance.choice([None, "", "ä \"quoted\" € note", "n" * chance.randrange(40)]),
            "raw": chance.randbytes(chance.randrange(6)),
            "placed": chance.random() < 0.5,
            "kind": chance.choice(KINDS),
            "day": datetime.date(2026, 1, 1) + datetime.timedelta(days=chance.randrange(400)),
            "ts_us": self.now_us + self.number * 1_000 + chance.randrange(1_000),
        }


def as_json(order, fields, ts_us):
    """The event that a reader sees of these fields."""
    texts = {"amount": str, "raw": lambda raw: base64.b64encode(raw).decode(), "day": datetime.date.isoformat}
    seen = {name: order[name] if order[name] is None else texts.get(name, lambda value: value)(order[name]) for name in fields}
    return json.dumps(seen | {"ts": ts_us}).encode()


def instant(us):
    return EPOCH + datetime.timedelta(microseconds=us)


# ------------------------------------------------------------------------------------------------------------- Avro

ID, ACCOUNT, WIDE_ACCOUNT = ({"name": name, "type": kind} for name, kind in (("order_id", "long"), ("account_id", "int"), ("account_id", "long")))
AMOUNT = {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}}
MILLIS = {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}}
MICROS = {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}}
NOTE = {"name": "note", "type": ["null", "string"], "default": None}
PRICE = {"name": "price", "type": ["null", "double"], "default": None}
REST = [
    {"name": "tags", "type": {"type": "map", "values": "string"}},
    {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [{"name": "sku", "type": "string"}]}}},
    {"name": "raw", "type": "bytes"},
    {"name": "mixed", "type": ["null", "string", "long"]},
    {"name": "placed", "type": "boolean"},
    {"name": "Kind", "type": {"type": "enum", "name": "Kinds", "symbols": KINDS}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "session", "type": {"type": "string", "logicalType": "uuid"}},
]
AVRO = {
    1: [ID, ACCOUNT, AMOUNT, MILLIS],
    2: [MILLIS, ID, ACCOUNT, NOTE, AMOUNT, PRICE],
    3: [ID, WIDE_ACCOUNT, *REST, AMOUNT, NOTE, MICROS, PRICE],
    # Our columns cannot be read from these two.
    4: [ID, {"name": "account_id", "type": "string"}, AMOUNT, MILLIS],
    5: [ID, WIDE_ACCOUNT, AMOUNT, {"name": "ts", "type": {"type": "long", "logicalType": "time-micros"}}],
}
AVRO_SEEN = {
    1: ["order_id", "account_id", "amount"],
    2: ["order_id", "account_id", "amount", "note", "price"],
    3: ["order_id", "account_id", "amount", "note", "price", "raw", "placed", "kind", "day"],
}
COMPATIBLE = (1, 2, 3)


def record(fields, name="Order"):
    return {"type": "record", "name": name, "namespace": "shop", "fields": fields}


class AvroOrders:
    """Frames of every version; a version is registered when it is first used."""

    def __init__(self, registry, subject):
        self.registry, self.subject, self.ids = registry, subject, {}

    def id(self, version):
        if version not in self.ids:
            self.ids[version] = self.registry.register(self.subject, record(AVRO[version]))
        return self.ids[version]

    def message(self, version, order):
        """The value, and the JSON that means the same."""
        body, seen = avro_body(version, order)
        return struct.pack(">bI", 0, self.id(version)) + body, seen


def avro_body(version, order):
    ts_us = order["ts_us"] if version == 3 else order["ts_us"] // 1_000 * 1_000
    values = order | {
        "ts": instant(ts_us), "tags": {"a": "b", "": "ü"}, "items": [{"sku": "x"}, {"sku": ""}], "mixed": order["order_id"],
        "Kind": order["kind"], "session": "00000000-0000-4000-8000-000000000001",
    }
    if version == 4:
        values["account_id"] = str(order["account_id"])
    if version == 5:
        values["ts"] = datetime.time(1, 2, 3)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(record(AVRO[version]), {}), values)
    return out.getvalue(), as_json(order, AVRO_SEEN[version], ts_us) if version in COMPATIBLE else NOT_AN_ORDER


# --------------------------------------------------------------------------------------------------------- Protobuf

MONEY = 'syntax = "proto3"; package shop; message Money { int64 units = 1; int32 nanos = 2; }'
HEAD = 'syntax = "proto3"; package shop; import "google/protobuf/timestamp.proto"; '
WRAPPERS = 'import "google/protobuf/wrappers.proto"; '
IMPORTS_MONEY = 'import "money.proto"; '
PROTOBUF = {
    1: HEAD + "message Order { int64 order_id = 1; int32 account_id = 2; string amount = 3; google.protobuf.Timestamp ts = 9; }",
    2: HEAD + "message Order { int64 order_id = 1; int32 account_id = 2; string amount = 3; optional string note = 4; "
              "double price = 5; google.protobuf.Timestamp ts = 9; }",
    3: HEAD + WRAPPERS + IMPORTS_MONEY
       + "message Other { message Inside { message Order { int64 order_id = 1; int64 account_id = 2; string amount = 3; "
         "google.protobuf.StringValue note = 4; google.protobuf.DoubleValue price = 5; bytes raw = 6; bool placed = 7; Kind kind = 8; "
         "google.protobuf.Timestamp ts = 9; string day = 10; map<string, string> tags = 20; repeated int32 codes = 21; "
         "Money total = 22; } } } enum Kind { WEB = 0; SHOP = 1; PHONE = 2; }",
    4: HEAD + "message Order { int64 order_id = 1; string account_id = 2; string amount = 3; google.protobuf.Timestamp ts = 9; }",
    5: HEAD + IMPORTS_MONEY + "message Order { int64 order_id = 1; int64 account_id = 2; Money amount = 3; google.protobuf.Timestamp ts = 9; }",
}
# Where the type stands in its file, and its name.
PROTOBUF_PLACES = dict.fromkeys((1, 2, 4, 5), (b"\0", "shop.Order")) | {3: (bytes([6, 0, 0, 0]), "shop.Other.Inside.Order")}
PROTOBUF_SEEN = {
    1: ["order_id", "account_id", "amount"],
    2: ["order_id", "account_id", "amount", "note", "price"],
    3: ["order_id", "account_id", "amount", "note", "price", "raw", "placed", "kind", "day"],
}


class ProtobufOrders:
    """The same of Protocol Buffers; protoc of grpcio-tools reads the schemas."""

    def __init__(self, registry, subject, folder):
        self.registry, self.subject, self.folder, self.ids, self.classes = registry, subject, folder, {}, {}
        folder.mkdir(parents=True)

    def id(self, version):
        if version not in self.ids:
            references = []
            if IMPORTS_MONEY in PROTOBUF[version]:
                self.registry.register("money", MONEY, "PROTOBUF")
                references = [{"name": "money.proto", "subject": "money", "version": 1}]
            self.ids[version] = self.registry.register(self.subject, PROTOBUF[version], "PROTOBUF", references)
        return self.ids[version]

    def message(self, version, order):
        indexes, _ = PROTOBUF_PLACES[version]
        body, seen = self.body(version, order)
        return struct.pack(">bI", 0, self.id(version)) + indexes + body, seen

    def body(self, version, order):
        message = self.type(version)(order_id=order["order_id"])
        message.account_id = str(order["account_id"]) if version == 4 else order["account_id"]
        if version == 5:
            message.amount.units = 1
        else:
            message.amount = str(order["amount"])
        message.ts.seconds, message.ts.nanos = order["ts_us"] // 1_000_000, order["ts_us"] % 1_000_000 * 1_000
        if version == 2:
            message.price = order["price"]
            if order["note"] is not None:
                message.note = order["note"]
        if version == 3:
            message.raw, message.placed, message.kind = order["raw"], order["placed"], KINDS.index(order["kind"])
            message.day, message.price.value, message.total.units = order["day"].isoformat(), order["price"], 7
            message.tags["a"] = "b"
            message.codes.extend([1, 2])
            if order["note"] is not None:
                message.note.value = order["note"]
                message.note.SetInParent()
            message.price.SetInParent()
        seen = as_json(order, PROTOBUF_SEEN[version], order["ts_us"]) if version in COMPATIBLE else NOT_AN_ORDER
        return message.SerializeToString(), seen

    def type(self, version):
        if version not in self.classes:
            from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

            path = self.write(version)
            descriptors = path.with_suffix(".pb")
            command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{self.folder}", f"-I{well_known()}", "--include_imports",
                       f"--descriptor_set_out={descriptors}", str(path)]
            subprocess.run(command, check=True)
            pool = descriptor_pool.DescriptorPool()
            for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
                pool.Add(file)
            _, name = PROTOBUF_PLACES[version]
            self.classes[version] = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
        return self.classes[version]

    def write(self, version):
        """The schema as a file; gives its path."""
        path = self.folder / f"order_{version}.proto"
        path.write_text(PROTOBUF[version])
        (self.folder / "money.proto").write_text(MONEY)
        return path


def well_known():
    import importlib.resources

    return importlib.resources.files("grpc_tools") / "_proto"
