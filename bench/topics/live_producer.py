"""`live_producer.py --brokers … --topic … --rate 10000 --seconds 30 --out FILE`: events whose event time is the wall clock.

Open loop: event k is produced at `start + k / rate`, or as soon after that as this program runs. A hundred a second are
of the WATCHED accounts in turn. FILE gets, as JSON, when each of these was produced by
account, in microseconds, and how fast it was.
"""

import argparse
import json
import random
import time
from pathlib import Path

from confluent_kafka import Producer

WATCHED = range(1_000_000, 1_000_024)  # as keys they lie in most of the topic's partitions
WATCHED_PER_S = 100
ACCOUNTS, MERCHANTS = 100_000, 50_000
LINGER_MS = 5  # the default of Kafka's clients; at 1 ms the broker gets a request for almost every event
PAUSE_S = 0.0005
FLUSH_S_MAX = 30


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    settings = {"bootstrap.servers": options.brokers, "linger.ms": LINGER_MS, "acks": "all"}
    options.out.write_text(json.dumps(produce(options, Producer(settings))))


def produce(options, producer):
    chance, watched = random.Random("live"), {account: [] for account in WATCHED}
    every = max(1, options.rate // WATCHED_PER_S)
    number, events, began_s = 0, round(options.rate * options.seconds), time.monotonic()
    while number < events:
        due = min(events, int((time.monotonic() - began_s) * options.rate) + 1)
        while number < due:
            account = chance.randrange(ACCOUNTS)
            if number % every == 0:
                account = WATCHED[number // every % len(WATCHED)]
            now_us = time.time_ns() // 1_000
            more = {}
            if account in watched:
                watched[account].append(now_us)
                more["on_delivery"] = note_delivered
            producer.produce(options.topic, message(number, account, chance, now_us), str(account), **more)
            number += 1
        producer.poll(0)
        time.sleep(PAUSE_S)
    elapsed_s = time.monotonic() - began_s
    left = producer.flush(FLUSH_S_MAX)
    assert left == 0, f"{left} events were not written"
    return {"watched": watched, "events": events, "events_per_s": round(events / elapsed_s)}


def note_delivered(error, _):
    assert error is None, error


def message(number, account, chance, now_us):
    merchant, cents = chance.randrange(MERCHANTS), chance.randrange(1, 100_000)
    return (f'{{"transaction_id":"t{number:010}","account_id":{account},"merchant_id":{merchant},"device_id":{4 * account},'
            f'"amount":{cents / 100},"country":"DE","ts":{now_us}}}')


if __name__ == "__main__":
    main()
