"""The project of the durability tests: two streams fed over HTTP, their views, and what is asked of them.

`payments` has a PRIMARY KEY, so that a repeat is a duplicate; `transfers` has none, and its producers send each batch with an
Idempotency-Key. `client` and `number` name each event: the views by client say how many of whose events are counted, and
whether one is counted twice.
"""

from pathlib import Path

ACCOUNTS, MERCHANTS = 120, 25
LATENESS_S = 2

SQL = f"""
CREATE STREAM payments (
  payment_id VARCHAR   NOT NULL,
  client     BIGINT    NOT NULL,
  number     BIGINT    NOT NULL,
  account_id BIGINT    NOT NULL,
  merchant   VARCHAR,
  amount     DOUBLE    NOT NULL CHECK (amount >= 0),
  ts         TIMESTAMP NOT NULL,
  PRIMARY KEY (payment_id),
  WATERMARK FOR ts AS ts - INTERVAL '{LATENESS_S}' SECOND
);

CREATE STREAM transfers (
  client     BIGINT        NOT NULL,
  number     BIGINT        NOT NULL,
  account_id BIGINT        NOT NULL,
  amount     DECIMAL(12,2) NOT NULL CHECK (amount >= 0),
  ts         TIMESTAMP     NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '{LATENESS_S}' SECOND
);

CREATE FEATURE VIEW account_payments AS
SELECT
  account_id,
  count(*)                             OVER s10 AS count_10s,
  sum(amount)                          OVER s10 AS sum_10s,
  max(amount)                          OVER s10 AS max_10s,
  count(DISTINCT merchant)             OVER h1  AS merchants_1h,
  count(*) FILTER (WHERE amount > 100) OVER h1  AS large_1h,
  stddev_samp(amount)                  OVER h1  AS std_1h,
  quantile_cont(amount, 0.9)           OVER h1  AS p90_1h,
  last_value(merchant)                 OVER r20 AS last_merchant,
  avg(amount)                          OVER r20 AS avg_of_20,
  var_pop(amount)                      OVER ever AS variance,
  mode(merchant)                       OVER ever AS usual_merchant
FROM payments
WINDOW
  s10  AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '10' SECOND PRECEDING AND CURRENT ROW),
  h1   AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
  r20  AS (PARTITION BY account_id ORDER BY ts ROWS BETWEEN 20 PRECEDING AND CURRENT ROW),
  ever AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW merchant_payments AS
SELECT
  merchant,
  count(*)                   OVER m1 AS count_1m,
  avg(amount)                OVER m1 AS avg_1m,
  count(DISTINCT account_id) OVER m1 AS accounts_1m
FROM payments
WHERE merchant IS NOT NULL
WINDOW m1 AS (PARTITION BY merchant ORDER BY ts RANGE BETWEEN INTERVAL '1' MINUTE PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW account_transfers AS
SELECT
  account_id,
  sum(amount) OVER m1   AS sum_1m,
  min(amount) OVER m1   AS min_1m,
  sum(amount) OVER ever AS sum_ever,
  count(*)    OVER ever AS count_ever
FROM transfers
WINDOW
  m1   AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '1' MINUTE PRECEDING AND CURRENT ROW),
  ever AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW client_payments AS
SELECT client, count(*) OVER ever AS events, count(DISTINCT number) OVER ever AS numbers, sum(number) OVER ever AS total
FROM payments
WINDOW ever AS (PARTITION BY client ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW client_transfers AS
SELECT client, count(*) OVER ever AS events, count(DISTINCT number) OVER ever AS numbers, sum(number) OVER ever AS total
FROM transfers
WINDOW ever AS (PARTITION BY client ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

CREATE FEATURE SERVICE account_v1 AS
SELECT p.count_10s, p.p90_1h, t.sum_1m, r.amount / nullif(p.avg_of_20, 0) AS amount_ratio
FROM REQUEST (account_id BIGINT, amount DOUBLE) AS r
LEFT JOIN account_payments  AS p ON p.account_id = r.account_id
LEFT JOIN account_transfers AS t ON t.account_id = r.account_id;
"""

# Of each stream the view that every used event is in, and its columns besides the view's key and the event time.
WHOLE = {
    "payments": ("client_payments", "payment_id,number,account_id,merchant,amount"),
    "transfers": ("client_transfers", "number,account_id,amount"),
}

# Of each stream the columns that a client chooses, and how DuckDB gives them as they were sent.
SENT = {
    "payments": {
        "payment_id": "payment_id", "account_id": "account_id", "merchant": "merchant", "amount": "amount", "ts": "epoch_us(ts)",
    },
    "transfers": {"account_id": "account_id", "amount": "CAST(amount AS VARCHAR)", "ts": "epoch_us(ts)"},
}


def write(folder):
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "features.sql").write_text(SQL)
    return folder


def targets(clients):
    """What is asked: (kind, name, rows); one row of each is of nobody."""
    accounts = [{"account_id": number} for number in range(ACCOUNTS + 1)]
    return [
        ("view", "account_payments", accounts),
        ("view", "account_transfers", accounts),
        ("view", "merchant_payments", [{"merchant": merchant(number)} for number in range(MERCHANTS + 1)]),
        ("view", "client_payments", [{"client": client} for client in range(clients + 1)]),
        ("view", "client_transfers", [{"client": client} for client in range(clients + 1)]),
        ("service", "account_v1", [row | {"amount": 12.5} for row in accounts]),
    ]


def merchant(number):
    return f"mürchant {number}"
