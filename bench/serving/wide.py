"""The SQL of 250 features: five views over the stream `events`, five frames, ten aggregates, and the service of them all."""

FRAMES = {"5m": "'5' MINUTE", "1h": "'1' HOUR", "6h": "'6' HOUR", "1d": "'1' DAY", "7d": "'7' DAY"}
AGGREGATES = {
    "count": "count(*) {over}",
    "sum": "sum(amount) {over}",
    "avg": "avg(amount) {over}",
    "min": "min(amount) {over}",
    "max": "max(amount) {over}",
    "std": "stddev_samp(amount) {over}",
    "tiny": "count(*) FILTER (WHERE amount < 5) {over}",
    "large": "sum(amount) FILTER (WHERE amount > 100) {over}",
    "distinct": "count(DISTINCT {other}) {over}",
    "last": "max(ts) {over}",
}
# Name: entity key, the column whose different values are counted, condition.
VIEWS = {
    "account_all": (["account_id"], "merchant_id", "amount >= 0"),
    "account_large": (["account_id"], "merchant_id", "amount > 20"),
    "merchant_all": (["merchant_id"], "account_id", "amount >= 0"),
    "merchant_large": (["merchant_id"], "account_id", "amount > 20"),
    "pair": (["account_id", "merchant_id"], "amount", "amount >= 0"),
}


def wide_sql():
    return "\n".join([*(view(name, *definition) for name, definition in VIEWS.items()), service()])


def view(name, key, other, condition):
    features = [
        f"  {text.format(over=f'OVER w{frame}', other=other)} AS {name}_{aggregate}_{frame}"
        for frame in FRAMES for aggregate, text in AGGREGATES.items()
    ]
    windows = [
        f"  w{frame} AS (PARTITION BY {', '.join(key)} ORDER BY ts RANGE BETWEEN INTERVAL {length} PRECEDING AND CURRENT ROW)"
        for frame, length in FRAMES.items()
    ]
    columns = ",\n".join([*(f"  {part}" for part in key), *features])
    return f"CREATE FEATURE VIEW {name} AS\nSELECT\n{columns}\nFROM events\nWHERE {condition}\nWINDOW\n" + ",\n".join(windows) + ";\n"


def service():
    features = [
        f"  {name}.{name}_{aggregate}_{frame}" for name in VIEWS for frame in FRAMES for aggregate in AGGREGATES
    ]
    joins = [
        f"LEFT JOIN {name} ON " + " AND ".join(f"{name}.{part} = r.{part}" for part in key)
        for name, (key, *_) in VIEWS.items()
    ]
    request = "FROM REQUEST (account_id BIGINT, merchant_id BIGINT) AS r\n"
    return "CREATE FEATURE SERVICE wide_v1 AS\nSELECT\n" + ",\n".join(features) + "\n" + request + "\n".join(joins) + ";\n"
