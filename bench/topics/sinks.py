"""A topic through a sink into another topic: what exactly once costs, and how soon a row is committed.

Throughput: every event of a topic that is there already, to a topic of as many partitions, once with each delivery; the time is from
the start of the server until the sink has committed the last row. Latency: events of now, each of which has the wall clock of its
production in it, and of its append to the topic by the broker; an independent consumer of what is committed looks at the clock when
it gets the row.
"""

import datetime
import json
import subprocess
import sys
import threading
import time

from measure import Measurement, race
from serving.machine import write_results
from serving.promises import promised
from serving.server import Server
from topics import messages, projects
from topics.latency import PRODUCER, WARM_UP_S, percentiles

SOURCE, LIVE = "sink_source", "sink_live"
DELIVERIES = {"at least once": "at_least_once", "exactly once": "exactly_once"}
COST_MAX = 0.20
P99_MS_MAX = 200
COMMIT_MS = 100
READ_S_MAX, READY_S_MAX = 600, 60
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def kept(options, cluster, work):
    told = {"throughput": throughput(options, cluster), "latency": latency(options, cluster, work)}
    write_results("kafka", {"sinks": told})
    cost, p99_ms = told["throughput"]["cost"], told["latency"]["topic_p99_ms"]
    kept_cost = promised(f"exactly once costs at most {COST_MAX:.0%} of the throughput: {cost:.1%}", cost <= COST_MAX)
    kept_p99 = promised(f"p99 from the topic to committed at most {P99_MS_MAX} ms: {p99_ms} ms", p99_ms <= P99_MS_MAX)
    return kept_cost and kept_p99


# ------------------------------------------------------------------------------------------------------- throughput


class Written:
    """A contender of measure.py: a server with a sink, from its start until everything is committed."""

    runs = 0

    def __init__(self, name, options, cluster):
        self.name, self.options, self.cluster = name, options, cluster

    def run(self):
        Written.runs += 1
        out = f"sink_out_{Written.runs}"
        self.cluster.create_topic(out, partitions=messages.PARTITIONS)
        folder = projects.sink(self.cluster.bootstrap, SOURCE, out, DELIVERIES[self.name], COMMIT_MS)
        began = time.perf_counter()
        with Server(self.options.asof, folder) as server:
            server.wait_until(lambda: has_written(server, self.options.events), READ_S_MAX)
            return Measurement(time.perf_counter() - began, server.cpu_s(), server.peak_bytes() / 2**20)


def has_written(server, rows):
    status, text = server.request("GET", "/v1/objects/out")
    if status != 200:
        return False
    told = json.loads(text)
    return told["counts"]["rows"] >= rows and told["lag"] == 0


def throughput(options, cluster):
    messages.write(cluster, SOURCE, messages.transactions(options.events))
    raced = race([Written(name, options, cluster) for name in DELIVERIES], options.runs)
    told = {one.name: {"wall_s": round(one.wall_s(), 2), "rows_per_s": round(options.events / one.wall_s()), "cpu_s": round(one.cpu_s(), 2)}
            for one in raced}
    loose, once = (told[name]["rows_per_s"] for name in DELIVERIES)
    print("\n| a topic into a topic | rows | wall s | rows/s | CPU s |\n|---|---:|---:|---:|---:|")
    for name, one in told.items():
        print(f"| {name} | {options.events:,} | {one['wall_s']} | {one['rows_per_s']:,} | {one['cpu_s']} |")
    print(flush=True)
    return told | {"rows": options.events, "runs": options.runs, "cost": round(1 - once / loose, 3)}


# ---------------------------------------------------------------------------------------------------------- latency


def latency(options, cluster, work):
    out = f"{LIVE}_out"
    messages.write(cluster, LIVE, None, message_timestamp_type="LogAppendTime")
    cluster.create_topic(out, partitions=messages.PARTITIONS)
    seconds = WARM_UP_S + options.seconds
    with Server(options.asof, projects.sink(cluster.bootstrap, LIVE, out, "exactly_once", COMMIT_MS)) as server:
        server.wait_ready(READY_S_MAX)
        reader = Reader(cluster, out, time.time() + WARM_UP_S)
        command = [sys.executable, PRODUCER, "--brokers", cluster.bootstrap, "--topic", LIVE, "--rate", options.sink_rate,
                   "--seconds", seconds, "--out", work / "sink_produced.json"]
        subprocess.run([str(word) for word in command], check=True)
        server.wait_until(lambda: has_written(server, round(options.sink_rate * seconds)), READ_S_MAX)
        delays = reader.finish()
    told = {"rows": len(delays["topic"]), "rate": options.sink_rate, "commit_interval_ms": COMMIT_MS}
    for name, own in delays.items():
        told |= {f"{name}_{share}_ms": value for share, value in percentiles(own).items()}
        print(f"\n{name} to committed, {options.sink_rate:,} rows/s, a commit every {COMMIT_MS} ms: " + ", ".join(
            f"{share} {told[f'{name}_{share}_ms']} ms" for share in ("p50", "p90", "p99", "max")), flush=True)
    print(flush=True)
    return told


class Reader:
    """Reads what is committed, and how long after its production, of all that is produced from an instant on."""

    def __init__(self, cluster, topic, from_s):
        self.settings = cluster.settings_of_client(
            group_id="bench", isolation_level="read_committed", auto_offset_reset="earliest", fetch_wait_max_ms=10
        )
        self.topic, self.from_us, self.ends = topic, from_s * 1e6, threading.Event()
        self.delays = {"produced": [], "topic": []}
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(self.settings)
        consumer.assign([TopicPartition(self.topic, partition, 0) for partition in range(messages.PARTITIONS)])
        while not self.ends.is_set():
            for message in consumer.consume(1_000, 0.005):
                if message.error() is None:
                    self.look(message.value(), time.time_ns() // 1_000)
        consumer.close()

    def look(self, value, now_us):
        row = json.loads(value)
        produced_us, appended_us = (
            (datetime.datetime.fromisoformat(row[name]) - EPOCH) // datetime.timedelta(microseconds=1) for name in ("ts", "appended_at")
        )
        if produced_us >= self.from_us:
            self.delays["produced"].append(now_us - produced_us)
            self.delays["topic"].append(now_us - appended_us)

    def finish(self):
        time.sleep(1)
        self.ends.set()
        self.thread.join()
        return self.delays
