"""`sample_spine.py EVENTS OUT ROWS`: decisions about the accounts of random events, half of them at the event's own time."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

events, out, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
table = pq.read_table(events, columns=["account_id", "ts"])
account, ts = table["account_id"].to_numpy(), table["ts"].cast(pa.int64()).to_numpy()
random = np.random.Generator(np.random.PCG64(5))
chosen = random.integers(0, len(table), rows)
any_time = random.integers(ts.min(), ts.max() + 1, rows)
at = np.where(random.random(rows) < 0.5, ts[chosen], any_time)
spine = pa.table({"row": np.arange(rows), "account_id": account[chosen], "ts": pa.array(at).cast(pa.timestamp("us"))})
pq.write_table(spine, out)
