"""From the topic to seen: how long after an event is in the topic a read over HTTP counts it.

    live_producer.py ──10,000 events/s──▶ topic ──▶ asof run ◀──reads, every 2 ms── this program

The event time of each event is the wall clock at the moment at which it is produced; the broker stamps each message with its
own when it appends it (`message.timestamp.type=LogAppendTime`, whole milliseconds), all on one machine. A hundred events a second
are of the watched accounts, whose numbers of events are read again and again: the k-th is seen when an answer has come that
counts k. So what is promised has everything behind the broker's append in it: the fetch, the judgement, the read, and up to two
milliseconds between two reads; the producer's linger and the broker's own time are before it, and printed. The server's own histogram
is printed beside it: from the newest event of each batch until the batch is visible.
"""

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

from serving import histogram
from serving.machine import write_results
from serving.promises import promised
from serving.server import Server
from topics import messages, projects
from topics.live_producer import WATCHED

TOPIC = "live"
PRODUCER = Path(__file__).with_name("live_producer.py")
EVENT_TO_VISIBLE = "asof_event_to_visible_seconds"
P99_MS_MAX = 20
STEPS = {"appended": "produced to appended by the broker", "servable": "appended to read over HTTP",
         "seen": "produced to read over HTTP"}
# The broker compiles itself meanwhile, on the same two cores: for some 20 s nothing else gets its turn.
WARM_UP_S = 40
READ_EVERY_S = 0.002
START_S_MAX, DRAIN_S_MAX = 60, 30


def kept(options, cluster, work):
    messages.write(cluster, TOPIC, None, message_timestamp_type="LogAppendTime")
    produced = work / "produced.json"
    with Server(options.asof, projects.features(cluster.bootstrap, TOPIC)) as server:
        server.wait_ready(START_S_MAX)
        command = [sys.executable, PRODUCER, "--brokers", cluster.bootstrap, "--topic", TOPIC, "--rate", options.rate,
                   "--seconds", WARM_UP_S + options.seconds, "--out", produced]
        before, cpu_s, began_s = histogram.buckets(server.metrics(), EVENT_TO_VISIBLE), server.cpu_s(), time.monotonic()
        with subprocess.Popen([str(word) for word in command]) as producer:
            seen, reads = watch(server, producer)
        cores = (server.cpu_s() - cpu_s) / (time.monotonic() - began_s)
        visible = histogram.between(before, histogram.buckets(server.metrics(), EVENT_TO_VISIBLE))
    figures = judged(json.loads(produced.read_text()), appended(cluster), seen) | {
        "rate": options.rate, "seconds": options.seconds, "server_cores": round(cores, 2), "reads": reads,
        "batch_to_visible_p50_ms_max": round(1e3 * histogram.at_most(visible, 0.5), 2),
        "batch_to_visible_p99_ms_max": round(1e3 * histogram.at_most(visible, 0.99), 2),
    }
    print_figures(figures)
    write_results("kafka", {"latency": figures})
    p99_ms = figures["servable_p99_ms"]
    return promised(f"p99 from the topic to a read at most {P99_MS_MAX} ms: {p99_ms} ms", p99_ms <= P99_MS_MAX)


def appended(cluster):
    """When the broker appended the events of each watched account, in microseconds, in their order."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(cluster.settings_of_client(group_id="bench", enable_partition_eof=True))
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(messages.PARTITIONS)])
    times, ended = {str(account): [] for account in WATCHED}, set()
    while len(ended) < messages.PARTITIONS:
        for message in consumer.consume(10_000, 1):
            if message.error():
                ended.add(message.partition())
            elif (account := message.key().decode()) in times:
                times[account].append(message.timestamp()[1] * 1_000)
    consumer.close()
    return times


def watch(server, producer):
    """Reads the watched accounts until all of their events are there.

    Of each account a list of (wall clock in microseconds when the answer came, events of it that it counts), with an entry
    for each change; and how many reads there were.
    """
    body = json.dumps({"rows": [{"account_id": account} for account in WATCHED]})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    seen, counts, reads, until = {account: [] for account in WATCHED}, [0] * len(WATCHED), 0, None
    while until is None or time.monotonic() < until:
        connection.request("POST", f"/v1/views/{projects.VIEW}/features", body, {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        now_us, reads = time.time_ns() // 1_000, reads + 1
        place = answer["columns"].index("txn_count_1h")
        for account, row, count in zip(WATCHED, answer["rows"], counts):
            if row[place] > count:
                seen[account].append((now_us, row[place]))
        counts = [row[place] for row in answer["rows"]]
        if until is None and producer.poll() is not None:
            until = time.monotonic() + 1
        time.sleep(READ_EVERY_S)
    connection.close()
    return seen, reads


def judged(produced, appended_us, seen):
    """Percentiles over the watched events behind the warm-up."""
    delays = [
        delay for account, times in produced["watched"].items()
        for delay in delays_us(account, list(zip(times, appended_us[account], strict=True)), seen[int(account)])
    ]
    delays = [list(steps) for steps in zip(*delays)]
    return {"watched": len(delays[0]), "produced_per_s": produced["events_per_s"]} | {
        f"{step}_{name}_ms": value for step, one in zip(STEPS, delays) for name, value in percentiles(one).items()
    }


def delays_us(account, times, seen):
    """Of each event of an account what is between its produced, appended and seen, as STEPS has them."""
    changes, seen_us, count = iter(seen), 0, 0
    for number, (produced_us, appended_us) in enumerate(times, 1):
        while count < number:
            seen_us, count = next(changes, (None, None))
            assert seen_us, f"of account {account} {number - 1} events were seen, {len(times)} were produced"
        if produced_us >= times[0][0] + WARM_UP_S * 1e6:
            yield appended_us - produced_us, seen_us - appended_us, seen_us - produced_us


def percentiles(delays_us):
    delays_us = sorted(delays_us)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1}
    return {name: round(delays_us[int(share * (len(delays_us) - 1))] / 1_000, 2) for name, share in shares.items()}


def print_figures(figures):
    print(f"\n### {figures['produced_per_s']:,} events/s into a topic, {figures['watched']:,} of them watched\n")
    print("| | p50 ms | p90 ms | p99 ms | max ms |\n|---|---:|---:|---:|---:|")
    for step, title in STEPS.items():
        print(f"| {title} | " + " | ".join(str(figures[f"{step}_{share}_ms"]) for share in ("p50", "p90", "p99", "max")) + " |")
    print("| newest event of a batch to visible, at most | {batch_to_visible_p50_ms_max} | | {batch_to_visible_p99_ms_max} | |"
          .format(**figures))
    print(f"\nthe server used {figures['server_cores']} cores; {figures['reads']:,} reads\n", flush=True)
