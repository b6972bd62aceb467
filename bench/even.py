"""Makes events spread evenly over accounts and time, with at most one hot account: the workload of scaling.py."""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CHUNKS = 40
DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("events", "accounts", "days", "hot-events"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    (options.out / "data").mkdir(parents=True)
    random = np.random.Generator(np.random.PCG64(7))
    hot = np.sort(random.integers(0, 7 * DAY_US, options.hot_events)) + START_US + DAY_US
    edges = np.linspace(0, options.days * DAY_US, CHUNKS + 1).astype(np.int64) + START_US
    counts = np.diff(np.linspace(0, options.events, CHUNKS + 1).astype(np.int64))
    writer = None
    for low, high, count in zip(edges[:-1], edges[1:], counts):
        table = chunk(random, options.accounts, np.sort(random.integers(low, high, count)), hot[(hot >= low) & (hot < high)])
        writer = writer or pq.ParquetWriter(options.out / "data" / "transactions.parquet", table.schema, use_dictionary=False)
        writer.write_table(table)
    writer.close()


def chunk(random, accounts, ts, hot_ts):
    account = np.concatenate([random.integers(1, accounts + 1, len(ts)), np.zeros(len(hot_ts), np.int64)])
    ts = np.concatenate([ts, hot_ts])
    order = np.argsort(ts, kind="stable")
    return pa.table({
        "account_id": account[order],
        "merchant_id": random.integers(1, 50_001, len(ts)),
        "amount": np.rint(np.exp(3.0 + random.standard_normal(len(ts))) * 100.0) / 100.0,
        "ts": pa.array(ts[order]).cast(pa.timestamp("us")),
    })


if __name__ == "__main__":
    main()
