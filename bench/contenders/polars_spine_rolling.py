"""`polars_spine_rolling.py EVENTS SPINE OUT`: the ten features as of each spine row, in Polars, by rolling.

The spine's rows are put among the events of their accounts, without an amount, and the windows roll over both.
Its cost does not grow with the events of one account.
"""

import sys

import polars as pl

events, spine, out = sys.argv[1:]
amount, merchant = pl.col("amount"), pl.col("merchant_id")
windows = {
    "5m": [
        amount.count().alias("txn_count_5m"), amount.sum().alias("spend_5m"), amount.mean().alias("avg_amount_5m"),
        amount.min().alias("min_amount_5m"), amount.max().alias("max_amount_5m"),
        merchant.drop_nulls().n_unique().alias("merchants_5m"),
    ],
    "1h": [amount.count().alias("txn_count_1h"), amount.sum().alias("spend_1h")],
    "7d": [amount.mean().alias("avg_amount_7d"), amount.std().alias("std_amount_7d")],
}
rows = pl.scan_parquet(spine)
past = pl.scan_parquet(events).select("account_id", "merchant_id", "amount", "ts")
past = past.join(rows.select("account_id").unique(), on="account_id", how="semi")
both = pl.concat([past, rows], how="diagonal").sort("account_id", "ts")
parts = [
    both.rolling("ts", period=period, closed="both", group_by="account_id").agg(features).drop("account_id", "ts")
    for period, features in windows.items()
]
answered = pl.concat([both.select("row", "account_id", "ts"), *parts], how="horizontal").filter(pl.col("row").is_not_null())
answered = answered.sort("row").with_columns(
    pl.when(pl.col("txn_count_5m") > 0).then(pl.col("spend_5m")).alias("spend_5m"),  # no event: a sum is missing
    pl.when(pl.col("txn_count_1h") > 0).then(pl.col("spend_1h")).alias("spend_1h"),
)
answered.collect().write_parquet(out, compression="uncompressed")
