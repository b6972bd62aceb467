"""Clients that post events without end, each from a thread and over a connection of its own, and retry until acknowledged.

Most events are in time and good; some are late, too far ahead, against a CHECK, not readable, or sent before. Everything but
the moment of sending follows from the seed.
"""

import http.client
import io
import json
import random
import threading
import time

import live_project
from ledger import Batch
from running_server import Defect

BATCH_ROWS_MAX = 60
PAUSE_S = 0.015  # between two posts, on the average
RETRY_S = 0.01
DELIVER_S_MAX = 90
CALL_S = 10
# Shares of events that are not as they should be.
BROKEN, NEGATIVE, FUTURE, LATE, REPEATED = 0.005, 0.01, 0.01, 0.04, 0.03
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
# Stream, form and greatest batch of each client.
CLIENTS = [
    ("transfers", "ndjson", BATCH_ROWS_MAX), ("transfers", "json", BATCH_ROWS_MAX), ("transfers", "json", 1),
    ("payments", "ndjson", BATCH_ROWS_MAX), ("payments", "arrow", BATCH_ROWS_MAX), ("payments", "json", 1),
]


class Producers:
    """All clients; use it in a `with`. At its end each has its last batch acknowledged."""

    def __init__(self, server, ledger, seed):
        self.stopped = threading.Event()
        self.threads = [Producer(server, ledger, number, seed, self.stopped) for number in range(len(CLIENTS))]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            for thread in self.threads:
                thread.is_given_up = True
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        if kind is None:
            self.check()

    def check(self):
        """A client that met what must not be ends the test."""
        for thread in self.threads:
            if thread.defect:
                raise Defect(f"client {thread.client}: {thread.defect}")


class Producer(threading.Thread):
    def __init__(self, server, ledger, client, seed, stopped):
        super().__init__(daemon=True)
        self.server, self.ledger, self.client, self.stopped = server, ledger, client, stopped
        self.stream, self.form, self.rows_max = CLIENTS[client]
        self.chance = random.Random(f"{seed} client {client}")
        self.connection = None
        self.next_number = self.posts = 0
        self.defect, self.is_given_up = None, False

    def run(self):
        try:
            while not self.stopped.is_set():
                self.post_once()
                self.stopped.wait(self.chance.expovariate(1 / PAUSE_S))
        except Exception as error:  # told by `Producers.check`
            self.defect = f"{type(error).__name__}: {error}"

    def post_once(self):
        count = self.chance.randint(1, self.rows_max)
        rows = [self.event() for _ in range(count)]
        events = [(row["client"], row["number"]) for row in rows]
        is_keyed = self.stream == "transfers"
        key = f"{self.client}-{self.posts}" if is_keyed else None
        self.posts += 1
        answer, retries = self.deliver(self.body(rows), key)
        if answer is not None:
            values = [tuple(row[column] for column in live_project.SENT[self.stream]) for row in rows]
            self.ledger.add(Batch(self.stream, events, values, is_keyed), answer, retries)

    def deliver(self, body, key):
        """Posts until it is answered for good: the answer, and how often it was tried again."""
        began, retries = time.monotonic(), 0
        while not self.is_given_up:
            status, answer = self.attempt(body, key)
            if status in (200, 422) and "accepted" in answer:
                return answer, retries
            if status not in (0, 429, 503):
                raise Defect(f"a post to {self.stream} was answered with {status}: {answer}")
            if time.monotonic() - began > DELIVER_S_MAX:
                raise Defect(f"a post to {self.stream} was not acknowledged within {DELIVER_S_MAX} s, last {status}: {answer}")
            retries += 1
            time.sleep(RETRY_S)
        return None, retries

    def attempt(self, body, key):
        """Status and answer; 0 if the connection broke, and nobody knows what became of the events."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=CALL_S)
            return self.server.post(self.stream, body, self.form, key, self.connection)
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            self.connection.close()
            self.connection = None
            return 0, {"error": str(error)}

    def event(self):
        chance, number = self.chance, self.next_number
        repeats = self.stream == "payments" and number > 0 and chance.random() < REPEATED
        if repeats:
            number = chance.randrange(max(0, number - 500), number)
        else:
            self.next_number += 1
        row = {
            "client": self.client, "number": number, "account_id": chance.randrange(live_project.ACCOUNTS),
            "amount": chance.lognormvariate(3, 1), "ts": time.time_ns() // 1_000 - self.delay_us(),
        }
        if chance.random() < NEGATIVE:
            row["amount"] = -1.0
        if self.stream == "transfers":
            row["amount"] = f"{row['amount']:.2f}"
        else:
            row["payment_id"] = f"{self.client}-{number}"
            row["merchant"] = live_project.merchant(chance.randrange(live_project.MERCHANTS)) if chance.random() < 0.9 else None
        return row

    def delay_us(self):
        drawn = self.chance.random()
        if drawn < FUTURE:
            return -HOUR_US  # from the future
        if drawn < FUTURE + LATE:
            return self.chance.randrange(10 * SECOND_US, 60 * SECOND_US)  # late
        return self.chance.randrange(live_project.LATENESS_S * SECOND_US)

    def body(self, rows):
        if self.form == "arrow":
            return arrow(rows)
        texts = [json.dumps(row) for row in rows]
        if self.form == "json":
            return texts[0] if len(texts) == 1 and self.rows_max == 1 else f"[{','.join(texts)}]"
        # A line that is no JSON is one unreadable event.
        return "\n".join(text[:-1] if self.chance.random() < BROKEN else text for text in texts)


def arrow(rows):
    import pyarrow as pa

    table = pa.Table.from_pylist(rows).to_batches()[0]
    times = table.column("ts").cast(pa.timestamp("us", tz="UTC"))
    table = table.set_column(table.schema.get_field_index("ts"), "ts", times)
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_batch(table)
    return out.getvalue()
