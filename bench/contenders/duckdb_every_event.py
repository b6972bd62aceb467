"""`duckdb_every_event.py EVENTS OUT SQL`: the ten features at every event, in DuckDB, by the view's own text."""

import re
import sys
from pathlib import Path

import duckdb

events, out, sql = sys.argv[1:]
view = re.search(r"CREATE FEATURE VIEW account_features AS(.*?);", Path(sql).read_text(), re.S).group(1)
view = view.replace("account_id,", "account_id, ts,", 1)  # the event time, which asof adds to every event
connection = duckdb.connect(config={"threads": 2})
connection.execute("SET preserve_insertion_order = false")
connection.execute(f"CREATE VIEW events AS FROM read_parquet('{events}')")
connection.execute(f"COPY ({view}) TO '{out}' (FORMAT parquet, COMPRESSION uncompressed)")
