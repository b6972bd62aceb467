"""A small project with a paced stream, and the plainest model of what its page must show.

Events come ten a second of event time and 50 a second of ours. What becomes of each is settled when it is made, so the
counts and features at a position are recounted here from the first rows of the file, at each asking.
"""

import json
from datetime import datetime, timedelta

EVENTS = 30_000  # ten minutes at 50/s: longer than the check
START = datetime(2026, 1, 1)
STEP = timedelta(milliseconds=100)
LATE_BY = timedelta(seconds=20)  # behind the newest; five seconds are allowed
ACCOUNTS = ["alice", "bob", "carol", "dave"]
# A number that a double does not hold, and text that a careless page would run.
FIRST_REFERENCE = 2**53 + 1
NOTE = "<img src=x onerror=\"document.title='broken'\"> & <b>paid</b>"
NOTE_FEATURE = "<b>last note</b>"

SQL = f"""
CREATE STREAM payments (
  payment_id VARCHAR   NOT NULL,
  account    VARCHAR   NOT NULL,
  amount     DOUBLE    NOT NULL CHECK (amount >= 0),
  reference  BIGINT    NOT NULL,
  note       VARCHAR,
  ts         TIMESTAMP NOT NULL,
  PRIMARY KEY (payment_id),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (connector = 'file', path = 'payments.jsonl', format = 'jsonl', order = 'file', rate = '50/s');

CREATE FEATURE VIEW account_activity AS
SELECT
  account,
  count(*)              OVER s10 AS payments_10s,
  count(*)              OVER h1  AS payments_1h,
  sum(amount)           OVER h1  AS spend_1h,
  last_value(reference) OVER h1  AS last_reference,
  last_value(note)      OVER h1  AS "{NOTE_FEATURE}"
FROM payments
WINDOW
  s10 AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '10' SECOND PRECEDING AND CURRENT ROW),
  h1  AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '1'  HOUR   PRECEDING AND CURRENT ROW);

CREATE FEATURE SERVICE risk_v1 AS
SELECT
  a.payments_10s, a.payments_1h, a.spend_1h, a.last_reference, a."{NOTE_FEATURE}",
  r.amount / nullif(a.spend_1h, 0) AS amount_share
FROM REQUEST (account VARCHAR, amount DOUBLE) AS r
LEFT JOIN account_activity AS a ON a.account = r.account;
"""


class Project:
    """The folder and its events; `fates` says what becomes of each."""

    def __init__(self, folder):
        self.folder = folder
        self.events, self.fates = zip(*(event(place) for place in range(EVENTS)))
        folder.mkdir(parents=True)
        (folder / "features.sql").write_text(SQL)
        lines = (json.dumps({**one, "ts": instant(one["ts"])}) for one in self.events)
        (folder / "payments.jsonl").write_text("\n".join(lines) + "\n")

    def counts(self, position):
        """What became of the first rows."""
        fates = self.fates[:position]
        return {fate: fates.count(fate) for fate in ("used", "late", "duplicate", "rejected")}

    def newest(self, position):
        return max(one["ts"] for one in self.used(position))

    def used(self, position):
        return [one for one, fate in zip(self.events[:position], self.fates) if fate == "used"]

    def features(self, account, position, as_of):
        """The view's features of an account, after the first rows, as of an instant."""
        events = [one for one in self.used(position) if one["account"] == account and one["ts"] <= as_of]
        hour = [one for one in events if one["ts"] >= as_of - timedelta(hours=1)]
        last = max(hour, key=lambda one: one["ts"], default=None)
        return {
            "payments_10s": sum(one["ts"] >= as_of - timedelta(seconds=10) for one in events),
            "payments_1h": len(hour),
            "spend_1h": sum(one["amount"] for one in hour) if hour else None,
            "last_reference": last and last["reference"],
            NOTE_FEATURE: last and last["note"],
        }


def event(place):
    """The event of a row, and its fate."""
    one = {
        "payment_id": f"p{place}",
        "account": ACCOUNTS[place % len(ACCOUNTS)],
        "amount": place % 40 * 0.25,  # quarters add up exactly
        "reference": FIRST_REFERENCE + 2 * place,
        "note": NOTE,
        "ts": START + place * STEP,
    }
    if place % 50 == 17:
        return {**one, "amount": -1.5}, "rejected"
    if place % 50 == 23:
        return {**one, "payment_id": f"p{place - 1}"}, "duplicate"
    if place % 50 == 31 and place * STEP > LATE_BY:
        return {**one, "ts": one["ts"] - LATE_BY}, "late"
    return one, "used"


def instant(time):
    return time.isoformat(timespec="microseconds") + "Z"
