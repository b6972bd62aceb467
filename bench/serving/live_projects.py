"""The projects that events are posted to: live streams, checkpoints on."""

from serving.load import failures
from serving.posts import ARROW_TYPE, Posts, used, write_ndjson, write_records, write_transactions
from serving.projects import SERVING, TEN, live, replaced

SETTINGS = '[checkpoint]\ninterval = "10s"\n'
BATCH_ROWS, ARROW_ROWS = 1_000, 8_000
FILLED = 4_000_000  # events before anything is measured: 98 % of the accounts have one
FILE = " WITH (connector = 'file', path = 'data/transactions.parquet', format = 'parquet')"
MORE_COLUMNS = "  transaction_id BIGINT NOT NULL,\n  country VARCHAR NOT NULL,\n"
RECORDS = """\
CREATE STREAM events (
  device_id BIGINT    NOT NULL,
  sequence  BIGINT    NOT NULL,
  value     DOUBLE    NOT NULL,
  payload   VARCHAR   NOT NULL,
  ts        TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND
);
"""


SCORED = "CREATE STREAM scored AS SELECT t.account_id, t.amount, FEATURES(account_v1, t).* FROM events t;\n"


def transactions(name, settings=SETTINGS, scored=False, **intervals):
    """The ten features over a live stream; with a stream of its events scored by them, if asked for. `intervals`: others for
    `lateness`, `hour` and `week`."""
    text = replaced(TEN.read_text(), FILE, "")
    text = replaced(text, "  account_id  BIGINT", f"{MORE_COLUMNS}  account_id  BIGINT")
    for what, old in [("lateness", "'30' SECOND"), ("hour", "'1' HOUR  "), ("week", "'7' DAY   ")]:
        text = replaced(text, f"INTERVAL {old}", f"INTERVAL {intervals.get(what, old)}")
    sql = {"features.sql": text, "service.sql": (SERVING / "service.sql").read_text()}
    if scored:
        sql["scored.sql"] = SCORED
    return live(name, sql, settings)


def records(name):
    return live(name, {"features.sql": RECORDS}, SETTINGS)


def ndjson(options, folder, rows=BATCH_ROWS, **more):
    return Posts(options.open_loop, write_ndjson(folder / f"{rows}.ndjson", rows), rows, **more)


def arrow_records(options, folder):
    body = write_records(folder / "records.arrow", ARROW_ROWS)
    return Posts(options.open_loop, body, ARROW_ROWS, content_type=ARROW_TYPE)


def arrow_transactions(options, folder):
    body = write_transactions(folder / "transactions.arrow", ARROW_ROWS)
    return Posts(options.open_loop, body, ARROW_ROWS, content_type=ARROW_TYPE, connections=2)


def fill(server, posts, events):
    """Posts as fast as can be until there are so many events."""
    while (there := used(server, posts.stream)) < events:
        checked(posts.run(server, "max", max(1.0, min(20.0, (events - there) / 400_000)), 0))


def checked(report):
    """No figure counts if anything failed."""
    if failures(report):
        raise SystemExit(f"posts failed: {report}")
    return report
