"""Posts events: bodies with markers (see crates/server/examples/open_loop/template.rs), sent by the load generator.

Event times and accounts are written anew for each request, so that the events of a run are all different and cost the
generator next to nothing.
"""

import json
import random

from serving.load import generated

TIME_MARKER, KEY_MARKER = 9_999_999_999_999_999, 8_888_888
FIRST_ACCOUNT, ACCOUNTS = 1_000_000, 1_000_000
MERCHANTS = 50_000
ARROW_TYPE = "application/vnd.apache.arrow.stream"
COUNTRIES = ["de", "fr", "it", "pl", "us"]


class Posts:
    """Which body goes to which stream, from how many connections."""

    def __init__(self, open_loop, body, rows, stream="events", content_type="application/x-ndjson", connections=4):
        self.open_loop, self.body, self.rows = open_loop, body, rows
        self.stream, self.content_type, self.connections = stream, content_type, connections

    def run(self, server, events_per_s, duration_s, warm_up_s, times="now"):
        """One run. `events_per_s` is a number or `max`, the closed loop.

        The generator's report, with events taken in per wall second and per processor second of the server, over the whole
        run with its warm-up.
        """
        rate = events_per_s if events_per_s == "max" else events_per_s / self.rows
        before, cpu_s = used(server, self.stream), server.cpu_s()
        report = generated(self.open_loop, server, f"/v1/streams/{self.stream}/events", [
            "--bodies", self.body, "--content-type", self.content_type, "--event-times", times, "--keys", ACCOUNTS,
            "--connections", self.connections, "--rate", rate, "--duration", duration_s, "--warm-up", warm_up_s,
        ])
        taken_in, spent_s = used(server, self.stream) - before, server.cpu_s() - cpu_s
        return report | {
            "events_per_s": round(report["rate"] * self.rows), "events_per_cpu_s": round(taken_in / max(spent_s, 0.01)),
            "taken_in": taken_in,
        }


def used(server, stream):
    """Used events so far; every event has to be used, or it is not ingestion that is measured."""
    told = server.get(f"/v1/objects/{stream}")
    assert told["counts"]["used"] == told["counts"]["in"], f"not every event was used: {told['counts']}, {told['reasons']}"
    return told["counts"]["used"]


def json_event(chance):
    """A transaction of about 135 bytes."""
    return json.dumps({
        "transaction_id": chance.randrange(10**11, 10**12), "account_id": KEY_MARKER, "merchant_id": chance.randrange(MERCHANTS),
        "amount": round(chance.lognormvariate(3, 1), 2), "country": chance.choice(COUNTRIES), "ts": TIME_MARKER,
    })


def write_ndjson(path, rows):
    chance = random.Random("ndjson")
    path.write_text("\n".join(json_event(chance) for _ in range(rows)))
    return path


def write_transactions(path, rows):
    """The columns of the ten-feature view's stream as one Arrow IPC stream."""
    import pyarrow as pa

    chance = random.Random("transactions")
    return write_arrow(path, {
        "transaction_id": pa.array([chance.randrange(10**12) for _ in range(rows)]),
        "account_id": pa.array([KEY_MARKER] * rows),
        "merchant_id": pa.array([chance.randrange(MERCHANTS) for _ in range(rows)]),
        "amount": pa.array([round(chance.lognormvariate(3, 1), 2) for _ in range(rows)]),
        "country": pa.array([chance.choice(COUNTRIES) for _ in range(rows)]),
        "ts": pa.array([TIME_MARKER] * rows, pa.timestamp("us", tz="UTC")),
    })


def write_records(path, rows):
    """Records of 100 bytes: four numbers and 68 bytes of text."""
    import pyarrow as pa

    chance = random.Random("records")
    return write_arrow(path, {
        "device_id": pa.array([KEY_MARKER] * rows),
        "sequence": pa.array(range(rows)),
        "value": pa.array([chance.random() for _ in range(rows)]),
        "ts": pa.array([TIME_MARKER] * rows, pa.timestamp("us", tz="UTC")),
        "payload": pa.array([f"{chance.getrandbits(256):068x}" for _ in range(rows)]),
    })


def write_arrow(path, columns):
    import pyarrow as pa

    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)
    return path
