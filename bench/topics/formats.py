"""The same events as JSON and as Avro: what they take in the topic, and what it costs Asof to read them.

The Avro is that of a registry: each value begins with the number of its schema. It is written by fastavro, with the types that a
producer would choose (a timestamp in microseconds, an optional country); a real registry is asked for the schema.
"""

import io
import struct

import fastavro

from measure import race
from serving.machine import write_results
from topics import messages, projects
from topics.asof_reader import AsofReader

TOPIC_OF = {"JSON": "as_json", "Avro": "as_avro"}
SCHEMA = {
    "type": "record", "name": "Transaction", "namespace": "bench", "fields": [
        {"name": "transaction_id", "type": "string"},
        {"name": "account_id", "type": "long"},
        {"name": "merchant_id", "type": "long"},
        {"name": "device_id", "type": "long"},
        {"name": "amount", "type": "double"},
        {"name": "country", "type": ["null", "string"], "default": None},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}


def compared(options, cluster, work):
    from registry import Registry

    source = messages.transactions(options.events)
    with Registry(work) as registry:
        number = registry.register(f"{TOPIC_OF['Avro']}-value", SCHEMA)
        value_bytes = {
            "JSON": messages.write(cluster, TOPIC_OF["JSON"], source),
            "Avro": messages.write(cluster, TOPIC_OF["Avro"], source, encoder(number)),
        }
        contenders = [
            AsofReader(name, options.asof, project(cluster.bootstrap, name, registry.url), options.events) for name in TOPIC_OF
        ]
        results = {}
        for raced in race(contenders, options.runs):
            results[raced.name] = {
                "events": options.events, "runs": len(raced.runs), "bytes_per_event": round(value_bytes[raced.name] / options.events, 1),
                "wall_s": round(raced.wall_s(), 3), "events_per_s": round(options.events / raced.wall_s()),
                "cpu_s": round(raced.cpu_s(), 2), "cpu_us_per_event": round(raced.cpu_s() / options.events * 1e6, 2),
            }
    print("\n| ten features at every event | bytes an event | wall s | events/s | CPU us an event |\n|---|---:|---:|---:|---:|")
    for name, one in results.items():
        print(f"| {name} | {one['bytes_per_event']} | {one['wall_s']} | {one['events_per_s']:,} | {one['cpu_us_per_event']} |")
    print(flush=True)
    write_results("kafka", {"formats": results})
    return True


def project(brokers, name, registry_url):
    return lambda: projects.features(brokers, TOPIC_OF[name], name.lower(), f'[schema_registry]\nurl = "{registry_url}"\n')


def encoder(number):
    """Frames of the registry."""
    schema, head = fastavro.parse_schema(SCHEMA), struct.pack(">bI", 0, number)

    def encode(event):
        out = io.BytesIO(head)
        out.seek(len(head))
        fastavro.schemaless_writer(out, schema, event)
        return out.getvalue()

    return encode
