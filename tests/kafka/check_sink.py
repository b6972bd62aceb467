"""Sinks on real brokers: what is committed to the topic is each row of the stream, once, whatever is killed.

    target/venv/bin/python tests/kafka/check_sink.py                       all parts but `leaders`
    target/venv/bin/python tests/kafka/check_sink.py --only kills --rounds 100 --outages 20 --payments 1000000

| Part | What is done | What must hold |
|---|---|---|
| features | payments to 12 partitions, a sink of each with its account's features | each payment's row has bit by bit what `asof history --knowledge as-served` has of it |
| kills | payments to 12 partitions, a sink that filters and computes, one of features, one of closed windows, one at least once, a derived stream that is kept in a topic; SIGKILL of the server and of the broker | `read_committed` shows each expected row once (at least once: at least), by key in one partition; no transaction hangs |
| leaders | three brokers with three replicas: leaders are killed, and one broker is black-holed for a while, all under load | the same |
| entries | payments, sinks of feature views with a frame of half a minute; SIGKILL of the server and of the broker, also while events leave the frame | the last entry of each account is what the view answers as of the sink's instant; all zeros at the end; nothing is written where nothing changes |
| zombie | the server gets SIGSTOP, another takes over with --take-over, then SIGCONT | the zombie ends and writes nothing; each row is there once |
| stuck | the server gets SIGKILL with transactions open | `asof transactions` tells which, and ends them; not while a server has the data folder |
| forgotten | the group's offsets are deleted; the data folder is brought back from before | the sink stops and says why, and writes nothing twice |

A run that takes its time: `--rounds 100 --outages 20 --payments 1000000 --black-hole 60`.

Needs the binary, Java and Maven (programs.py says which), and the packages of tests/requirements.txt. Exit 1 on any difference.
"""

import json
import random
import shutil
import signal
import subprocess
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path

import parts  # first: it says where findings.py and live_server.py are

import fed_project
from cluster import STEADY, Cluster
from fed_project import Expected, Payments, await_caught_up, payment_of, read_topic
from findings import Findings
from live_server import LiveServer
from proxy import Proxy

WAIT_S = 90
PARTITIONS = 3
PROXIED = "PROXIED"
# Three brokers take longer than a test of every change may: `--only leaders`.
ON_REQUEST = "leaders"
# A leader that is killed has a successor after so many seconds.
FAILOVER_S = 6
# A little more than payments are late: windows close by the clock when so much has passed.
LATENESS_S = 25

SINKS = """
CREATE SINK large WITH (connector = 'kafka', topic = '{topic}-large', key = 'account_id'{options}) AS
SELECT payment_id, account_id, amount, amount * 2 AS twice, part, place FROM payments WHERE amount >= 500;

CREATE SINK by_second WITH (connector = 'kafka', topic = '{topic}-seconds', key = 'account_id', commit_interval = '20 ms') AS
SELECT account_id, window_start, payments, spent FROM seconds;

CREATE FEATURE SERVICE spending AS
SELECT a.payments, a.spent, a.places, a.payments_1m FROM REQUEST (account_id BIGINT) AS r
LEFT JOIN accounts AS a ON a.account_id = r.account_id;

CREATE STREAM scored AS SELECT t.payment_id, t.account_id, t.amount, t.part, t.place, FEATURES(spending, t).* FROM payments t;

CREATE SINK enriched WITH (connector = 'kafka', topic = '{topic}-enriched', key = 'account_id'{options}) AS
SELECT payment_id, account_id, part, place, payments, spent, places, payments_1m FROM scored;

CREATE SINK noticed WITH (connector = 'kafka', topic = '{topic}-noticed', key = 'payment_id'{options}) AS
SELECT t.payment_id, FEATURES(spending, t).payments AS payments FROM payments t WHERE amount >= 900;

CREATE STREAM dear WITH (connector = 'kafka', topic = '{topic}-dear', key = 'account_id'{options}) AS
SELECT payment_id, account_id, amount FROM payments WHERE amount >= 800;

CREATE SINK again WITH (connector = 'kafka', topic = '{topic}-again', delivery = 'at_least_once') AS
SELECT payment_id FROM payments;
"""

# Payments are up to 20 s old: the last ones leave the frame between five and 25 seconds after a burst.
FRAME_S = 25

ENTRIES = """
CREATE FEATURE VIEW recent AS
SELECT account_id, count(*) OVER s AS payments_25s, sum(amount) OVER s AS spent_25s, count(*) OVER w AS payments{more}
FROM payments
WINDOW s AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '25' SECOND PRECEDING AND CURRENT ROW),
       w AS (PARTITION BY account_id ORDER BY ts);

CREATE SINK recent_accounts WITH (connector = 'kafka', topic = '{topic}-recent') AS SELECT * FROM recent;

CREATE SINK counted WITH (connector = 'kafka', topic = '{topic}-counted', delivery = 'at_least_once', commit_interval = '20 ms') AS
SELECT account_id AS id, payments FROM recent;
"""


def main():
    options = arguments()
    parts.begin(options)
    findings = Findings()
    with parts.working_folder(options, "asof-sinks-") as work:
        folder = Path(work)
        with Cluster(folder / "kafka", java_options=STEADY) as cluster:
            check = lambda part, own: PARTS[part](Setting(options, own, cluster, findings))
            parts.run(options.only or [part for part in PARTS if part != ON_REQUEST], folder, check, findings)
    parts.finish(findings)


def arguments():
    made = parts.parser(__doc__, PARTS)
    made.add_argument("--rounds", type=int, default=10, help="kills of the server")
    made.add_argument("--outages", type=int, default=2, help="kills of the broker meanwhile")
    made.add_argument("--payments", type=int, default=40_000)
    made.add_argument("--leaders", type=int, default=2, help="leaders that are killed, of `leaders`")
    made.add_argument("--black-hole", type=float, default=8, metavar="SECONDS", help="of one broker, of `leaders`")
    return parts.read(made)


class Setting:
    def __init__(self, options, folder, cluster, findings):
        self.options, self.folder, self.cluster, self.findings = options, folder, cluster, findings
        self.topic = folder.name

    def begin(self, partitions, options="", brokers=None):
        """Topics, and a server with the sinks, which finds the cluster at `brokers`."""
        self.cluster.create_topic(self.topic, partitions=partitions)
        for sink in ("large", "seconds", "enriched", "noticed", "dear", "again"):
            self.cluster.create_topic(f"{self.topic}-{sink}", partitions=PARTITIONS)
        project = fed_project.write(
            self.folder / "project", brokers or self.cluster.bootstrap, self.topic, lateness_s=LATENESS_S, options=", idle_timeout = '3s'"
        )
        (project / "sinks.sql").write_text(SINKS.format(topic=self.topic, options=options))
        return LiveServer(self.options.asof, project, settings=parts.SETTINGS)

    def rows(self, sink):
        """What is committed to the topic of a sink, as (partition, object)."""
        found = read_topic(self.cluster, f"{self.topic}-{sink}", PARTITIONS)
        return [(partition, json.loads(value)) for partition, _, value in found]


# ------------------------------------------------------------------------------------------------------------ kills


def check_kills(setting):
    options, findings, cluster = setting.options, setting.findings, setting.cluster
    chance = random.Random(options.seed)
    outages = set(chance.sample(range(options.rounds), min(options.outages, options.rounds)))
    with setting.begin(fed_project.PARTITIONS) as server:
        payments = Payments(cluster, setting.topic, options.seed)
        for turn in range(options.rounds):
            payments.send(options.payments // options.rounds)
            if turn in outages:
                cluster.broker(1).kill()
            else:
                payments.producer.flush(chance.choice([0, 1, 30]))
            time.sleep(chance.random() * 2)
            server.kill()
            server.start()
            if turn in outages:
                cluster.broker(1).restart()
        findings.claim(payments.flush(), f"kills: not all payments were written: {payments.failures[:3]}")
        server.wait_ready()
        messages = check_all(setting, server)
    check_transactions(setting)
    return f"{len(messages):,} messages, {options.rounds} kills of the server, {len(outages)} of the broker"


def check_all(setting, server):
    """Waits until everything is read, closed and written; gives the messages, of which each has to be there once."""
    messages = read_topic(setting.cluster, setting.topic, fed_project.PARTITIONS)
    await_caught_up(server, len(messages))
    await_written(server, closed=True)
    Expected(messages).check(server, setting.findings)
    check_rows(setting, messages)
    compare_windows(setting, server)
    return messages


def await_written(server, closed=False):
    """Until all sinks have written all that there is, and all windows have closed if that is asked for."""
    until = time.monotonic() + WAIT_S
    while True:
        told = {one["name"]: one for one in json.loads(server.call("GET", "/v1/objects")[1])["objects"]}
        open_events = told["seconds"]["windows"]["open_events"] if closed else 0
        sinks = [told[name] for name in ("large", "by_second", "enriched", "noticed", "again")] + [told["dear"]["topic"]]
        if not open_events and all(sink["lag"] == 0 for sink in sinks):
            return sinks
        if time.monotonic() > until:
            raise TimeoutError(f"after {WAIT_S} s {told['seconds']['windows']} and {sinks}\n{server.said()}")
        time.sleep(0.2)


def used(messages):
    """(partition, offset, payment) of each used event, in the order of the partitions."""
    seen = set()
    for partition, offset, value in sorted(messages, key=lambda message: message[:2]):
        payment = payment_of(value)
        if payment and (partition, payment["payment_id"]) not in seen:
            seen.add((partition, payment["payment_id"]))
            yield partition, offset, payment


def check_rows(setting, messages):
    findings = setting.findings
    wanted = Counter()
    for partition, offset, payment in used(messages):
        cents = round(float(payment["amount"]) * 100)
        if cents >= 50_000:
            wanted[(payment["payment_id"], payment["account_id"], cents, cents * 2, partition, offset)] += 1
    found, partitions = Counter(), defaultdict(set)
    for partition, row in setting.rows("large"):
        cents = [round(float(row[name]) * 100) for name in ("amount", "twice")]
        found[(row["payment_id"], row["account_id"], *cents, row["part"], row["place"])] += 1
        partitions[row["account_id"]].add(partition)
    twice = [row for row, count in found.items() if count > 1]
    findings.claim(not twice, f"large: {len(twice)} rows are there twice, such as {twice[:2]}")
    missing, more = wanted - found, found - wanted
    findings.claim(not missing and not more, f"large: {len(missing)} of {len(wanted)} rows are missing, {len(more)} are too many")
    findings.claim(all(len(own) == 1 for own in partitions.values()), "large: rows of one key are in several partitions")
    ids = {payment["payment_id"] for _, _, payment in used(messages)}
    again = {row["payment_id"] for _, row in setting.rows("again")}
    findings.claim(again == ids, f"again: {len(ids - again)} rows are missing, {len(again - ids)} are none of ours")
    check_features(setting, messages)
    print(f"large: {sum(found.values()):,} rows; again: {len(setting.rows('again')):,} rows of {len(ids):,}", flush=True)


def check_features(setting, messages):
    """Each payment is there once, with at least the features that its own event alone gives."""
    wanted = Counter((payment["payment_id"], payment["account_id"], partition, offset) for partition, offset, payment in used(messages))
    found, rows = Counter(), 0
    for _, row in setting.rows("enriched"):
        rows += 1
        found[(row["payment_id"], row["account_id"], row["part"], row["place"])] += 1
        sound = 1 <= row["payments_1m"] <= row["payments"] and row["places"] >= row["place"]
        setting.findings.claim(sound, f"enriched: {row}") if not sound else None
    missing, more = wanted - found, found - wanted
    setting.findings.claim(
        not missing and not more,
        f"enriched: of {len(wanted)} rows {len(missing)} are missing, {len(more)} are too many: {list(more.items())[:2]}",
    )
    for topic, cents in (("noticed", 90_000), ("dear", 80_000)):
        wanted = Counter(payment["payment_id"] for _, _, payment in used(messages) if round(float(payment["amount"]) * 100) >= cents)
        found = Counter(row["payment_id"] for _, row in setting.rows(topic))
        setting.findings.claim(found == wanted, f"{topic}: {len(wanted - found)} rows are missing, {len(found - wanted)} are too many")
    print(f"enriched: {rows:,} rows; dear: {sum(found.values()):,} rows", flush=True)


def check_scores(setting):
    """What was written with an event is what training says that serving would have answered."""
    findings = setting.findings
    with setting.begin(fed_project.PARTITIONS) as server:
        payments = Payments(setting.cluster, setting.topic, setting.options.seed)
        for _ in range(20):
            payments.send(500)
            payments.producer.flush(30)
        messages = read_topic(setting.cluster, setting.topic, fed_project.PARTITIONS)
        await_caught_up(server, len(messages))
        await_written(server)
        check_features(setting, messages)
        out = setting.folder / "every.jsonl"
        asked = ("--view", "accounts", "--every-event", "--knowledge", "as-served", "--keep", "part,place", "--out", out)
        code, said = server.history(*asked)
        findings.claim(code == 0, f"features: `asof history` ended with {code}: {said}")
        names = ("payments", "spent", "places", "payments_1m")
        history = {row["payment_id"]: [row[name] for name in names] for row in map(json.loads, out.open())}
        served = {row["payment_id"]: [row[name] for name in names] for _, row in setting.rows("enriched")}
        differ = [number for number in history if history[number] != served.get(number)]
        findings.claim(len(history) == len(served) > 9_000, f"features: {len(history)} rows of history, {len(served)} written")
        findings.claim(not differ, f"features: {len(differ)} differ, such as {[(history[one], served.get(one)) for one in differ[:2]]}")
    return f"{len(history):,} rows equal history as served"


def check_entries(setting):
    """The last entry of each key is what its entity is."""
    options, findings, cluster = setting.options, setting.findings, setting.cluster
    chance = random.Random(options.seed)
    cluster.create_topic(setting.topic, partitions=fed_project.PARTITIONS)
    for topic in ("recent", "counted"):
        cluster.create_topic(f"{setting.topic}-{topic}", partitions=PARTITIONS, cleanup_policy="compact")
    project = fed_project.write(setting.folder / "project", cluster.bootstrap, setting.topic, lateness_s=LATENESS_S)
    (project / "entries.sql").write_text(ENTRIES.format(topic=setting.topic, more=""))
    server, rounds = LiveServer(options.asof, project, settings=parts.SETTINGS), max(1, options.rounds // 2)
    with server:
        payments = Payments(cluster, setting.topic, options.seed)
        for turn in range(rounds):
            payments.send(options.payments // (10 * rounds))
            payments.producer.flush(chance.choice([0, 1, 30]))
            time.sleep(chance.random())
            server.kill()
            if turn == rounds // 2:
                cluster.broker(1).kill()
                cluster.broker(1).restart()
            server.start()
        findings.claim(payments.flush(), f"entries: not all payments were written: {payments.failures[:3]}")
        server.wait_ready()
        messages = read_topic(cluster, setting.topic, fed_project.PARTITIONS)
        await_caught_up(server, len(messages))
        events = [payment for _, _, payment in used(messages)]
        newest_us = max(payment["ts"] for payment in events)
        # While events leave the frame.
        for _ in range(3):
            as_of_us = await_entries(server, 0)
            compare_entries(setting, events, as_of_us, is_last=False)
            time.sleep(2)
        server.kill()
        time.sleep(5)
        server.start()
        server.wait_ready()
        await_entries(server, newest_us + FRAME_S * 1_000_000)
        written = compare_entries(setting, events, None, is_last=True)
        time.sleep(2)
        findings.claim(compare_entries(setting, events, None, is_last=True) == written, "entries: they are written though nothing changes")
        server.stop()
    (project / "entries.sql").write_text(ENTRIES.format(topic=setting.topic, more=", max(part) OVER w AS last_part"))
    with server:
        server.wait_ready()
        await_entries(server, newest_us + FRAME_S * 1_000_000)
        compare_entries(setting, events, None, is_last=True, more=True)
    check_transactions(setting, writers=1)
    return f"{len(events):,} payments, {written:,} entries of {len({payment['account_id'] for payment in events})} accounts"


def await_entries(server, after_us):
    """Until the sinks of views have written all that changed up to this instant; gives up to when they have."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        told = [json.loads(server.call("GET", f"/v1/objects/{sink}")[1]) for sink in ("recent_accounts", "counted")]
        as_of = told[0]["entries"]["as_of"]
        as_of_us = as_of and fed_project.instant_us(as_of)
        is_done = as_of and (as_of_us >= after_us or told[0]["entries"]["scheduled"] == 0)
        if is_done and all(sink["lag"] == 0 for sink in told):
            return as_of_us
        time.sleep(0.2)
    raise TimeoutError(f"after {WAIT_S} s {told}\n{server.said()}")


def compare_entries(setting, events, as_of_us, is_last, more=False):
    """Against the payments themselves: as of an instant the entry is among those of its key, at the end it is the last one."""
    wanted = defaultdict(lambda: [0, 0, 0])
    for payment in events:
        own = wanted[payment["account_id"]]
        if not is_last and as_of_us - FRAME_S * 1_000_000 <= payment["ts"] <= as_of_us:
            own[0] += 1
            own[1] += round(float(payment["amount"]) * 100)
        own[2] += 1
    entries, partitions = defaultdict(list), defaultdict(set)
    for partition, row in setting.rows("recent"):
        entries[row["account_id"]].append(row)
        partitions[row["account_id"]].add(partition)
    differ = []
    for account, (recent, cents, payments) in wanted.items():
        wants = {"account_id": account, "payments_25s": recent, "spent_25s": f"{cents / 100:.2f}" if recent else None, "payments": payments}
        own = entries[account][-1:] if is_last else entries[account]
        found = [{name: row.get(name) for name in wants} for row in own]
        if wants not in found or (more and own[-1].get("last_part") is None):
            differ.append((wants, own[-2:]))
    setting.findings.claim(not differ, f"entries: {len(differ)} of {len(wanted)} differ (last: {is_last}): {differ[:2]}")
    setting.findings.claim(set(entries) == set(wanted), f"entries: of accounts {set(entries) ^ set(wanted)}")
    setting.findings.claim(all(len(own) == 1 for own in partitions.values()), "entries: those of one key are in several partitions")
    if is_last:
        counted = {row["id"]: row["payments"] for _, row in setting.rows("counted")}
        setting.findings.claim(counted == {account: own[2] for account, own in wanted.items()}, f"counted: {counted}")
    return sum(map(len, entries.values()))


def compare_windows(setting, server):
    """The rows of closed windows in the topic are those that the views over them are made of."""
    sums = defaultdict(lambda: [0, 0])
    keys = Counter()
    for _, row in setting.rows("seconds"):
        keys[(row["account_id"], row["window_start"])] += 1
        sums[row["account_id"]][0] += row["payments"]
        sums[row["account_id"]][1] += round(float(row["spent"] or 0) * 100)
    setting.findings.claim(set(keys.values()) == {1}, f"by_second: rows are there twice: {keys.most_common(2)}")
    accounts = sorted(sums)
    as_of_us = time.time_ns() // 1_000 + 3_600_000_000
    rows = server.ask("view", "closed", [{"account_id": account} for account in accounts], as_of_us)["rows"]
    for account, (payments, spent) in zip(accounts, rows):
        served = [fed_project.number(payments), round(float(spent) * 100)]
        setting.findings.claim(served == sums[account], f"by_second: account {account}: {sums[account]}, served {served}")


def check_transactions(setting, writers=2):
    """None of ours is open."""
    said = setting.cluster.tool(
        "org.apache.kafka.tools.TransactionsCommand", "--bootstrap-server", setting.cluster.bootstrap, "list"
    )
    states = {line.split()[0]: line.split()[-1] for line in said.splitlines() if line.startswith("asof-")}
    hanging = {name: state for name, state in states.items() if state not in ("CompleteCommit", "CompleteAbort", "Empty")}
    setting.findings.claim(len(states) >= writers and not hanging, f"transactions: {states}")


# ---------------------------------------------------------------------------------------------------------- leaders


def check_leaders(setting):
    """The clients of the server come through proxies, one in front of each broker; brokers find each other without."""
    options, findings, chance = setting.options, setting.findings, random.Random(setting.options.seed)
    cluster, proxies = Cluster(setting.folder / "kafka", brokers=3), [Proxy() for _ in range(3)]
    for broker, proxy in zip(cluster.brokers, proxies):
        proxy.target = broker.add_listener(PROXIED, "PLAINTEXT", advertised=proxy.port)
    with ExitStack() as open_now:
        for one in [*proxies, cluster]:
            open_now.enter_context(one)
        setting = Setting(options, setting.folder, cluster, findings)
        with setting.begin(fed_project.PARTITIONS, brokers=cluster.bootstrap_of(PROXIED)) as server:
            payments = Payments(cluster, setting.topic, options.seed)
            part = options.payments // (2 * options.leaders + 2)
            for _ in range(options.leaders):
                payments.send(part)
                broker = cluster.broker(cluster.leader(setting.topic, chance.randrange(fed_project.PARTITIONS)))
                broker.kill()
                payments.send(part)
                time.sleep(chance.random() * FAILOVER_S)
                broker.restart()
                payments.producer.flush(WAIT_S)
            hole = chance.choice(proxies)
            hole.swallow()
            until = time.monotonic() + options.black_hole
            while time.monotonic() < until:
                payments.send(max(1, part // 20))
                time.sleep(options.black_hole / 20)
            hole.let_through()
            payments.send(part)
            findings.claim(payments.flush(), f"leaders: not all payments were written: {payments.failures[:3]}")
            messages = check_all(setting, server)
        check_transactions(setting)
    return f"{len(messages):,} messages, {options.leaders} leaders killed, {options.black_hole:g} s of a black hole"


# ----------------------------------------------------------------------------------------------------------- zombie


def check_zombie(setting):
    findings, cluster = setting.findings, setting.cluster
    zombie = setting.begin(3)
    with zombie:
        payments = Payments(cluster, setting.topic, setting.options.seed, partitions=3)
        payments.send(3_000)
        payments.producer.poll(0.1)
        time.sleep(0.3)
        zombie.process.send_signal(signal.SIGSTOP)
        payments.send(3_000)
        findings.claim(payments.flush(), f"zombie: {payments.failures[:3]}")
        successor = LiveServer(setting.options.asof, zombie.folder, data=zombie.data, settings=parts.SETTINGS, name="successor")
        successor.start("--take-over")
        successor.wait_ready()
        payments.send(500)
        zombie.process.send_signal(signal.SIGCONT)
        payments.send(1_500)
        payments.flush()
        code = zombie.process.wait(WAIT_S)
        findings.claim(code != 0, f"zombie: it ended with {code}")
        messages = read_topic(cluster, setting.topic, 3)
        await_caught_up(successor, len(messages))
        await_written(successor)
        check_rows(setting, messages)
        check_transactions(setting)
        successor.stop()
    return f"{len(messages):,} messages"


# ------------------------------------------------------------------------------------------------------------ stuck


def check_stuck(setting):
    findings, cluster = setting.findings, setting.cluster
    server = setting.begin(3, options=", commit_interval = '30 s'")
    payments = Payments(cluster, setting.topic, setting.options.seed, partitions=3)

    def transactions(*arguments):
        command = [setting.options.asof, "transactions", server.folder, "--data-dir", server.data, "--format", "json", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def hanging(said):
        return {one["sink"] for one in json.loads(said.stdout)["sinks"] if one["held_back"]}

    with server:
        # The first rows are committed at once, the next ones half a minute later.
        payments.send(300)
        findings.claim(payments.flush(), f"stuck: {payments.failures[:3]}")
        await_caught_up(server, len(read_topic(cluster, setting.topic, 3)))
        until = time.monotonic() + WAIT_S
        while not (committed := setting.rows("enriched")) and time.monotonic() < until:
            time.sleep(0.2)
        payments.send(300)
        findings.claim(payments.flush(), f"stuck: {payments.failures[:3]}")
        until = time.monotonic() + WAIT_S
        while hanging(transactions()) != {"large", "enriched", "noticed", "dear"} and time.monotonic() < until:
            time.sleep(0.2)
        refused = transactions("--abort")
        findings.claim(refused.returncode == 2, f"stuck: --abort beside a server: {refused.returncode} {refused.stderr}")
        server.kill()
    said = transactions()
    findings.claim(hanging(said) == {"large", "enriched", "noticed", "dear"}, f"stuck: {said.stdout} {said.stderr}")
    said = transactions("--abort")
    findings.claim(said.returncode == 0 and not hanging(said), f"stuck: {said.stdout} {said.stderr}")
    check_transactions(setting)
    rows = len(setting.rows("enriched"))
    findings.claim(rows < 400, f"stuck: {rows} rows were committed, of which {len(committed)} were at first")
    return f"hung and aborted: {said.stderr.strip()}"


# -------------------------------------------------------------------------------------------------------- forgotten


def check_forgotten(setting):
    findings, cluster = setting.findings, setting.cluster
    server = setting.begin(3)
    payments = Payments(cluster, setting.topic, setting.options.seed, partitions=3)
    with server:
        payments.send(300)
        payments.flush()
        await_caught_up(server, len(read_topic(cluster, setting.topic, 3)))
        await_written(server)
    copy = setting.folder / "copy"
    shutil.copytree(server.data, copy)
    with server:
        payments.send(300)
        payments.flush()
        messages = read_topic(cluster, setting.topic, 3)
        await_caught_up(server, len(messages))
        await_written(server)
    rows = len(setting.rows("large"))
    # The topic is ahead of the data folder.
    shutil.rmtree(server.data)
    shutil.copytree(copy, server.data)
    with server:
        told = await_trouble(server, "large")
        findings.claim("older than the topic" in told, f"forgotten: the data folder is older: {told!r}")
    shutil.rmtree(server.data)
    shutil.copytree(copy, server.data)
    forget(cluster)
    with server:
        told = await_trouble(server, "large")
        findings.claim("forgotten how far" in told, f"forgotten: the offsets are deleted: {told!r}")
        metrics = server.call("GET", "/metrics")[1].splitlines()
        findings.claim('asof_sink_in_trouble{sink="large"} 1' in metrics, "forgotten: no metric tells of it")
        findings.claim(len(setting.rows("large")) == rows, "forgotten: rows were written again")
    return "an older data folder, deleted offsets"


def forget(cluster):
    """Deletes the groups of all sinks."""
    admin = cluster.admin()
    groups = [group.group_id for group in admin.list_consumer_groups().result(30).valid if group.group_id.startswith("asof-")]
    for deleted in admin.delete_consumer_groups(groups).values():
        deleted.result(30)


def await_trouble(server, sink):
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        status, text = server.call("GET", f"/v1/objects/{sink}")
        if status == 200 and (trouble := json.loads(text)["trouble"]):
            return trouble
        time.sleep(0.1)
    return ""


PARTS = {"features": check_scores, "kills": check_kills, "entries": check_entries, "leaders": check_leaders, "zombie": check_zombie, "stuck": check_stuck, "forgotten": check_forgotten}

if __name__ == "__main__":
    main()
