"""`polars_every_event.py EVENTS OUT`: the ten features at every event, in Polars.

One lazy query, three rolling group-bys side by side over one sorted input. Of five other formulations, raced on 1 M events
in five rounds on a busy machine, none was faster: collecting the sorted input or each window first cost 5 to 10 % more, the
streaming engine 15 to 20 % (ranges overlap), `rolling_…_by` over the account twice as much, and that without counts.
"""

import sys

import polars as pl

events, out = sys.argv[1:]
amount = pl.col("amount")
windows = {
    "5m": [
        pl.len().alias("txn_count_5m"), amount.sum().alias("spend_5m"), amount.mean().alias("avg_amount_5m"),
        amount.min().alias("min_amount_5m"), amount.max().alias("max_amount_5m"),
        pl.col("merchant_id").n_unique().alias("merchants_5m"),
    ],
    "1h": [pl.len().alias("txn_count_1h"), amount.sum().alias("spend_1h")],
    "7d": [amount.mean().alias("avg_amount_7d"), amount.std().alias("std_amount_7d")],
}
by_account = pl.scan_parquet(events).select("account_id", "merchant_id", "amount", "ts").sort("account_id", "ts")
parts = [
    by_account.rolling("ts", period=period, closed="both", group_by="account_id").agg(features)
    for period, features in windows.items()
]
side_by_side = [parts[0], *(part.drop("account_id", "ts") for part in parts[1:])]
pl.concat(side_by_side, how="horizontal").collect().write_parquet(out, compression="uncompressed")
