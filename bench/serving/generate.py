"""Makes the events of the serving benchmarks: Parquet, in event-time order, from a fixed seed, in bounded memory.

    generate.py transactions --events 2000000 --days 14 --hot-events 1000000 --out FILE
    generate.py clicks --events 5000000 --per-second 180 --out FILE
    generate.py churn --events 30000000 --days 3650 --out FILE

Skewed ids are `count · u³` with u even in 0..1: the first id gets (1 / count)^⅓ of the events, 2 % of 100,000.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from population import ACCOUNTS, CHURN_ENTITIES, CHURN_PER_DAY, HOT_ACCOUNT, ITEMS, MERCHANTS, USERS

CHUNK_EVENTS = 500_000
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
HOT_SPAN_US = 7 * DAY_US - 3_600 * SECOND_US  # the hot account's events end with the stream, all in its seven days
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
DECADE_START_US = 1_420_070_400_000_000  # 2015-01-01T00:00:00Z
SEED = 7


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--hot-events", type=int, default=0, help="how many of them are one account's, in its last seven days")
    parser.add_argument("--per-second", type=float, default=180.0, help="clicks in a second of event time")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    write(options.out, KINDS[options.kind](options))


def write(path, tables):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=False)
        writer.write_table(table)
    writer.close()


def transactions(options):
    random = generator("transactions")
    hot_count = options.hot_events
    end_us = START_US + options.days * DAY_US
    hot = np.sort(random.integers(end_us - HOT_SPAN_US, end_us, hot_count)) if hot_count else np.empty(0, np.int64)
    number = 0
    for low, high, count in slices(options.events - hot_count, START_US, end_us):
        ts = np.sort(random.integers(low, high, count))
        hot_ts = hot[(hot >= low) & (hot < high)]
        account = np.concatenate([1 + skewed(random, ACCOUNTS, count), np.full(len(hot_ts), HOT_ACCOUNT)])
        ts = np.concatenate([ts, hot_ts])
        order = np.argsort(ts, kind="stable")
        yield pa.table({
            "transaction_id": np.arange(number, number + len(ts)),
            "account_id": account[order],
            "merchant_id": skewed(random, MERCHANTS, len(ts)),
            "amount": amounts(random, len(ts)),
            "ts": instants(ts[order]),
        })
        number += len(ts)


def clicks(options):
    """One event every 1 / per-second of event time, exactly, so that streams of other densities replay in step."""
    random = generator("clicks")
    for first in range(0, options.events, CHUNK_EVENTS):
        count = min(CHUNK_EVENTS, options.events - first)
        yield pa.table({
            "user_id": skewed(random, USERS, count),
            "item_id": skewed(random, ITEMS, count),
            "dwell_ms": np.rint(np.exp(7.5 + random.standard_normal(count))).astype(np.int64),
            "price": amounts(random, count),
            "ts": instants(START_US + (np.arange(first, first + count) * (SECOND_US / options.per_second)).astype(np.int64)),
        })


def churn(options):
    """Entities that come and go: on each day a twentieth of those of the day before is gone for ever, as many are new."""
    random = generator("churn")
    for low, high, count in slices(options.events, DECADE_START_US, DECADE_START_US + options.days * DAY_US):
        ts = np.sort(random.integers(low, high, count))
        day = (ts - DECADE_START_US) / DAY_US
        oldest = (day * CHURN_ENTITIES * CHURN_PER_DAY).astype(np.int64)
        yield pa.table({
            "entity_id": oldest + random.integers(0, CHURN_ENTITIES, count),
            "merchant_id": random.integers(0, MERCHANTS, count),
            "amount": amounts(random, count),
            "ts": instants(ts),
        })


def slices(events, start_us, end_us):
    """Spans of time with about CHUNK_EVENTS events each, evenly dense."""
    pieces = max(1, events // CHUNK_EVENTS)
    edges = np.linspace(start_us, end_us, pieces + 1).astype(np.int64)
    counts = np.diff(np.linspace(0, events, pieces + 1).astype(np.int64))
    return zip(edges[:-1], edges[1:], counts)


def skewed(random, ids, count):
    return (ids * random.random(count) ** 3).astype(np.int64)


def amounts(random, count):
    return np.rint(np.exp(3.0 + random.standard_normal(count)) * 100.0) / 100.0


def instants(microseconds):
    return pa.array(microseconds).cast(pa.timestamp("us"))


def generator(kind):
    return np.random.Generator(np.random.PCG64([SEED, *kind.encode()]))


KINDS = {"transactions": transactions, "clicks": clicks, "churn": churn}

if __name__ == "__main__":
    main()
