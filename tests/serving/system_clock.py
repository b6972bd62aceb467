"""Windows that empty by time alone: a project over events of the last seconds, served with `--clock system`.

While it is polled, nothing arrives. Each answer names the instant it is true for, and each value must be the one of the
exact definition at that instant: an event is counted from its own time until five seconds after, both ends included. Some
events lie ahead of the first poll, so that counts rise by time alone before they fall. At last all frames are empty: the
view holds no entity any more, and still answers, while a lifetime window keeps its own.
"""

import time

import pyarrow as pa
import pyarrow.parquet as parquet

from asked_project import Project
from running_server import Server, instant_text

FRAME_US = 5_000_000
AHEAD_US = 2_000_000
POLL_S = 0.05
DROP_S = 20
ACCOUNTS = 40
SQL = """
CREATE STREAM clicks (
  click_id   BIGINT    NOT NULL,
  account_id BIGINT    NOT NULL,
  amount     DOUBLE    NOT NULL,
  ts         TIMESTAMP NOT NULL,
  PRIMARY KEY (click_id),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH (connector = 'file', path = 'clicks.parquet', format = 'parquet', idle_timeout = '1 second');

CREATE FEATURE VIEW recent AS
SELECT account_id, count(*) OVER s5 AS clicks_5s, sum(amount) OVER s5 AS spend_5s, last_value(ts) OVER s5 AS last_at
FROM clicks
WINDOW s5 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '5' SECOND PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW ever AS
SELECT account_id, count(*) OVER ever AS clicks
FROM clicks
WINDOW ever AS (PARTITION BY account_id ORDER BY ts);

CREATE FEATURE SERVICE clicking AS
SELECT a.clicks_5s, a.spend_5s / r.amount AS times_amount, b.clicks
FROM REQUEST (account_id BIGINT, amount DOUBLE) AS r
LEFT JOIN recent AS a ON a.account_id = r.account_id
LEFT JOIN ever   AS b ON b.account_id = r.account_id;
"""


def check(asof, rng, findings, work):
    folder = work / "system_clock"
    folder.mkdir()
    began_us = time.time_ns() // 1_000
    events = make(folder, began_us, rng)
    project = Project(asof, folder, rng)
    recent, ever, service = project.targets
    polls = []
    with Server(asof, folder, "--clock", "system") as server:
        while time.time_ns() // 1_000 <= began_us + AHEAD_US + FRAME_US:
            polls.extend(poll(server, project, findings))
            time.sleep(POLL_S)
        dropped(server, recent, ever, findings)
        polls.extend(poll(server, project, findings))
    judge(recent, ever, polls, events, findings)
    for target in project.targets:
        own = [answer for of, answer in polls if of is target]
        history = project.history(target, [(target.rows, answer.as_of_us) for answer in own], work)
        for number, answer in enumerate(own):
            begin = number * target.rows.num_rows
            where = f"system clock, as of {instant_text(answer.as_of_us)}"
            findings.compare(where, target, target.rows, answer.rows, history[begin:begin + target.rows.num_rows])
    print(f"system clock: {len(polls)} answers while nothing arrived", flush=True)


def poll(server, project, findings):
    """An answer of each view and of the service as of now, which is the moment of the call."""
    for target in project.targets:
        asked_us = time.time_ns() // 1_000
        answer = server.ask_once(target, target.texts)
        answered_us = time.time_ns() // 1_000
        findings.claim(asked_us <= answer.as_of_us <= answered_us, f"system clock: {target.name}, asked at "
                       f"{instant_text(asked_us)}, was answered as of {instant_text(answer.as_of_us)}")
        yield target, answer


def make(folder, began_us, rng):
    """Events from four seconds ago until two seconds ahead; the last one just there."""
    events = [(rng.randrange(ACCOUNTS), began_us + rng.randrange(-4_000_000, AHEAD_US)) for _ in range(400)]
    events.append((0, began_us + AHEAD_US))
    parquet.write_table(pa.table({
        "click_id": range(len(events)),
        "account_id": [account for account, _ in events],
        "amount": [rng.randrange(1, 10_000) / 100 for _ in events],
        "ts": pa.array([ts_us for _, ts_us in events], pa.timestamp("us")),
    }), folder / "clicks.parquet")
    parquet.write_table(pa.table({"account_id": range(ACCOUNTS), "amount": [7.5] * ACCOUNTS}), folder / "spine.parquet")
    (folder / "features.sql").write_text(SQL)
    (folder / "asof.toml").write_text('[state]\nas_of_horizon = "1s"\n')
    return events


def dropped(server, recent, ever, findings):
    """Waits until no entity is held any more for the windows that are empty."""
    held = server.described(ever.name)["entities"]
    findings.claim(held == ACCOUNTS, f"system clock: `ever` holds {held} entities of {ACCOUNTS}")
    deadline = time.monotonic() + DROP_S
    while (held := server.described(recent.name)["entities"]) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    findings.claim(held == 0, f"system clock: {DROP_S} s after its last frame emptied `recent` holds {held} entities")
    held = server.described(ever.name)["entities"]
    findings.claim(held == ACCOUNTS, f"system clock: `ever` held {ACCOUNTS} entities, then {held}")


def judge(recent, ever, polls, events, findings):
    """Each count and each `known` is that of the definition at the instant that the answer names."""
    accounts = recent.rows.column("account_id").to_pylist()
    assert accounts == ever.rows.column("account_id").to_pylist()
    totals, instants_us = [], [answer.as_of_us for _, answer in polls]
    findings.claim(instants_us == sorted(instants_us), "system clock: now went back")
    for target, answer in polls:
        if target.kind == "service":
            continue
        frame_us = FRAME_US if target is recent else answer.as_of_us
        times_us = {account: [] for account in accounts}
        for account, ts_us in events:
            if answer.as_of_us - frame_us <= ts_us <= answer.as_of_us:
                times_us[account].append(ts_us)
        expected = [len(times_us[account]) for account in accounts]
        served = [int(row[0][1:]) for row in answer.rows]
        where = f"system clock: {target.name} as of {instant_text(answer.as_of_us)}"
        findings.claim(served == expected, f"{where}: counts {served}, of the definition {expected}")
        known = [count > 0 for count in expected]
        findings.claim(answer.known[target.name] == known, f"{where}: known {answer.known}, of the definition {known}")
        if target is recent:
            totals.append(sum(served))
    rises = any(one < other for one, other in zip(totals, totals[1:]))
    falls = any(one > other > 0 for one, other in zip(totals, totals[1:]))
    findings.claim(rises and falls and totals[-1] == 0, f"system clock: the count did not rise, fall and end at 0: {totals}")
