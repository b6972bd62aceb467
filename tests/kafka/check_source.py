"""A topic that feeds a stream, on real brokers: what is in the topic is in the features, once, whatever is killed.

    target/venv/bin/python tests/kafka/check_source.py                       all parts
    target/venv/bin/python tests/kafka/check_source.py --only kills --rounds 100 --payments 1000000

| Part | What is done | What must hold |
|---|---|---|
| kills | payments to 12 skewed partitions, some twice, some no payments, some in transactions that are aborted; SIGKILL of the server at any moment, and of the broker; every third time its logs lose what no sync has covered, as by a power cut | counts and values are those of what an independent consumer reads; equal to history as text; no partition is read twice, and none with a gap |
| outages | the broker is stopped, killed, and black-holed by a proxy | it is told and measured, windows stay open, and all comes when it is back |
| starts | earliest, latest, an instant; a partition more; the next start | each message from there on, once |
| idle | three partitions, of which two are silent | windows close after the idle time, and not before |
| lost | messages are deleted that were not read | the partition stops and says so; `lost_messages = 'skip'` goes on and counts |
| secured | SCRAM and TLS; a wrong password; a broker that nobody is | it is read; it is told what to mend |

Needs the binary, Java and Maven (programs.py says which), and the packages of tests/requirements.txt. Exit 1 on any difference.
"""

import json
import random
import struct
import time
from pathlib import Path

import parts  # first: it says where findings.py and live_server.py are

import fed_project
import programs
from children import Failed
from cluster import Cluster
from fed_project import Expected, Payments, await_caught_up, number, read_topic
from findings import Findings
from live_server import LiveServer
from proxy import Proxy
from running_server import Defect, instant_text, tokens

WAIT_S = 60
HEADER_BYTES = 40  # of a segment
USER, PASSWORD = "asof", "a-password"


def main():
    options = arguments()
    parts.begin(options)
    findings = Findings()
    with parts.working_folder(options, "asof-fed-") as work:
        folder = Path(work)
        cluster, proxy = Cluster(folder / "kafka"), Proxy()
        secure(cluster, folder)
        proxy.target = cluster.broker(1).add_listener("PROXIED", "PLAINTEXT", advertised=proxy.port)
        with proxy, cluster:
            check = lambda part, own: PARTS[part](Setting(options, own, cluster, proxy, findings))
            parts.run(options.only or PARTS, folder, check, findings)
    parts.finish(findings)


def arguments():
    made = parts.parser(__doc__, PARTS)
    made.add_argument("--rounds", type=int, default=10, help="kills of the server")
    made.add_argument("--outages", type=int, default=2, help="kills of the broker meanwhile")
    made.add_argument("--payments", type=int, default=60_000)
    return parts.read(made)


class Setting:
    def __init__(self, options, folder, cluster, proxy, findings):
        self.options, self.folder, self.cluster, self.proxy, self.findings = options, folder, cluster, proxy, findings
        self.topic = folder.name

    def server(self, name="project", brokers=None, settings=None, **more):
        brokers = brokers or self.cluster.bootstrap
        project = fed_project.write(self.folder / name, brokers, more.pop("topic", self.topic), **more)
        return LiveServer(self.options.asof, project, settings=parts.SETTINGS | (settings or {}))


# ------------------------------------------------------------------------------------------------------------ kills


def check_kills(setting):
    options, findings, cluster = setting.options, setting.findings, setting.cluster
    cluster.create_topic(setting.topic, partitions=fed_project.PARTITIONS)
    chance = random.Random(options.seed)
    payments = Payments(cluster, setting.topic, options.seed)
    fed_project.write_aborted(cluster, setting.topic, fed_project.PARTITIONS, 300)
    outages = set(chance.sample(range(options.rounds), min(options.outages, options.rounds)))
    cut = 0
    with setting.server() as server:
        for turn in range(options.rounds):
            payments.send(options.payments // options.rounds)
            if turn in outages:
                cluster.broker(1).kill()
                time.sleep(chance.random())
            else:
                # While it is written to and read, or just when all of it is there.
                payments.producer.flush(chance.choice([0, 1, 30]))
            time.sleep(chance.random() ** 2)
            server.kill()
            cut += cut_power(server.data) if turn % 3 == 0 else 0
            server.start()
            if turn in outages:
                cluster.broker(1).restart()
        fed_project.write_aborted(cluster, setting.topic, fed_project.PARTITIONS, 30)
        findings.claim(payments.flush(), f"kills: not all payments were written: {payments.failures[:3]}")
        server.wait_ready()
        messages = read_topic(cluster, setting.topic, fed_project.PARTITIONS)
        feed = await_caught_up(server, len(messages))
        expected = Expected(messages)
        expected.check(server, findings)
        findings.claim(feed["trouble"] is None, f"kills: at the end there is trouble: {feed['trouble']}")
        compare_history(setting, server)
    findings.claim(cut > 0 or options.rounds < 10, "kills: no power cut took anything away")
    return f"{len(messages):,} messages, {options.rounds} kills of the server, {len(outages)} of the broker, {cut:,} bytes cut off"


def cut_power(data):
    """Takes from the end of each log what no sync has covered: what a power cut may take. Gives how many bytes there were."""
    cut = 0
    for folder in (data / "log").glob("*/*"):
        segments = sorted(folder.glob("*.segment"), key=lambda path: [int(part) for part in path.stem.split("-")][::-1])
        marks = sorted(folder.glob("*.durable"))
        if not segments or not marks:
            continue
        # crates/log/src/mark.rs says what stands where.
        first_offset, generation, durable = struct.unpack("<QQQ", marks[-1].read_bytes()[16:40])
        if [int(part) for part in segments[-1].stem.split("-")] != [first_offset, generation]:
            durable = HEADER_BYTES
        lost = segments[-1].read_bytes()[durable:]
        if lost.strip(b"\0"):
            with open(segments[-1], "r+b") as segment:
                segment.seek(durable)
                segment.write(bytes(len(lost)))
            cut += len(lost.rstrip(b"\0"))
    return cut


def compare_history(setting, server):
    """The features of all accounts at one instant, as served and as `asof history` computes them from what is stored."""
    as_of_us = time.time_ns() // 1_000
    rows = [{"account_id": account} for account in range(fed_project.ACCOUNTS)]
    for view in ("accounts", "closed"):
        served = server.ask("view", view, rows, as_of_us)
        spine, out = setting.folder / "spine.jsonl", setting.folder / "training.jsonl"
        spine.write_text("".join(json.dumps(row | {"at": instant_text(as_of_us)}) + "\n" for row in rows))
        code, said = server.history("--view", view, "--spine", spine, "--time-column", "at", "--out", out)
        if code != 0:
            raise Defect(f"`asof history` of {view} ended with {code}:\n{said}")
        lines = out.read_text().splitlines()
        columns = served["columns"]
        history = [[tokens(line)[column] for column in columns] for line in lines]
        setting.findings.values += len(rows) * len(columns)
        setting.findings.claim(served["rows"] == history, f"{view}: served and history differ: {served['rows'][:3]} {history[:3]}")


# ---------------------------------------------------------------------------------------------------------- outages


def check_outages(setting):
    findings, cluster, proxy = setting.findings, setting.cluster, setting.proxy
    cluster.create_topic(setting.topic, partitions=3)
    payments = Payments(cluster, setting.topic, setting.options.seed, partitions=3)
    payments.send(500)
    payments.flush()
    broker = cluster.broker(1)
    with setting.server(brokers=cluster.bootstrap_of("PROXIED"), options=", idle_timeout = '2s'") as server:
        await_caught_up(server, 500)
        for name, begin, end in (
            ("killed", broker.kill, broker.restart),
            ("black-holed", proxy.swallow, proxy.let_through),
            ("paused", broker.pause, broker.go_on),
        ):
            begin()
            if not metric(server, "asof_kafka_in_trouble", 1):
                findings.tell(f"outages: {name}, and nobody is told: {feed_of(server)}")
            status, _ = server.call("GET", "/healthz")
            findings.claim(status == 200, f"outages: {name}, and /healthz is {status}")
            end()
            payments.send(200)
            findings.claim(payments.flush(), f"outages: {name}, and the producer failed: {payments.failures[:3]}")
            messages = read_topic(cluster, setting.topic, 3)
            await_caught_up(server, len(messages))
            findings.claim(metric(server, "asof_kafka_in_trouble", 0), f"outages: {name} is over: {feed_of(server)}")
        Expected(messages).check(server, findings)
    return "killed, black-holed, paused"


def feed_of(server):
    return json.loads(server.call("GET", "/v1/objects/payments")[1])["feed"]


def metric(server, name, value, seconds_max=WAIT_S):
    """Whether a metric of the stream has this value within that time, summed over its labels."""
    until = time.monotonic() + seconds_max
    while time.monotonic() < until:
        try:
            lines = server.call("GET", "/metrics")[1].splitlines()
        except OSError:
            lines = []  # it is just starting
        found = [float(line.split()[-1]) for line in lines if line.startswith(name + "{")]
        if found and sum(found) == value:
            return True
        time.sleep(0.1)
    return False


# ----------------------------------------------------------------------------------------------------------- starts


def check_starts(setting):
    findings, cluster = setting.findings, setting.cluster
    cluster.create_topic(setting.topic, partitions=2)
    payments = Payments(cluster, setting.topic, setting.options.seed, partitions=2)
    payments.send(300)
    payments.flush()
    time.sleep(0.05)
    instant_us = time.time_ns() // 1_000
    time.sleep(0.05)
    payments.send(200)
    payments.flush()
    before = read_topic(cluster, setting.topic, 2)
    written = times_of(cluster, setting.topic, 2)
    behind = [message for message in before if written[message[:2]] * 1_000 >= instant_us]
    starts = {"earliest": before, "latest": [], instant_text(instant_us): behind}
    servers = {}
    for number_of, (start, wanted) in enumerate(starts.items()):
        servers[start] = setting.server(f"project-{number_of}", options=f", start = '{start}'")
        with servers[start] as server:
            if wanted:
                await_caught_up(server, len(wanted))
            counts = server.counts("payments")
            findings.claim(counts["in"] == len(wanted), f"starts: from {start} {counts['in']} come, not {len(wanted)}")
    # While nobody reads: what comes next, and a partition more.
    payments.send(100)
    payments.flush()
    add_partitions(cluster, setting.topic, 3)
    payments.partitions = 3
    payments.send(100)
    payments.flush()
    after = read_topic(cluster, setting.topic, 3)
    for start, server in servers.items():
        wanted = starts[start] + [message for message in after if message not in before]
        with server:
            await_caught_up(server, len(wanted))
            Expected(wanted).check(server, findings)
    # One more while somebody does.
    with servers["latest"] as server:
        add_partitions(cluster, setting.topic, 4)
        payments.partitions = 4
        payments.send(200)
        payments.flush()
        now = read_topic(cluster, setting.topic, 4)
        wanted = [message for message in now if message not in before]
        await_caught_up(server, len(wanted))
        Expected(wanted).check(server, findings)
        refused = server.post("payments", json.dumps({"payment_id": 1, "account_id": 1, "ts": 1}), "json")
        findings.claim(refused[0] == 400, f"starts: an event over HTTP is answered with {refused}")
    return "earliest, latest, an instant, two partitions more"


def add_partitions(cluster, topic, count):
    from confluent_kafka.admin import NewPartitions

    admin = cluster.admin()  # held until it has answered
    admin.create_partitions([NewPartitions(topic, count)])[topic].result(fed_project.CALL_S)


def times_of(cluster, topic, partitions):
    """(partition, offset) → timestamp in milliseconds."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(cluster.settings_of_client(group_id="times", enable_partition_eof=True))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    found, ended = {}, set()
    while len(ended) < partitions:
        for message in consumer.consume(1_000, 0.2):
            if message.error():
                ended.add(message.partition())
            else:
                found[message.partition(), message.offset()] = message.timestamp()[1]
    consumer.close()
    return found


# ------------------------------------------------------------------------------------------------------------- idle


def check_idle(setting):
    findings, cluster = setting.findings, setting.cluster
    cluster.create_topic(setting.topic, partitions=3)
    payments = Payments(cluster, setting.topic, setting.options.seed, partitions=3)
    # A whole second: no window ends between the last of these payments.
    base_us = time.time_ns() // 1_000_000_000 * 1_000_000

    def pay(partition, seconds):
        payments.number += 1
        ts_us = base_us + int(seconds * 1e6)
        value = {"payment_id": payments.number, "account_id": 1, "amount": "1.00", "ts": ts_us}
        payments.put(json.dumps(value), partition)
        payments.flush()

    def closed(server):
        row = server.ask("view", "closed", [{"account_id": 1}], base_us + 3_600_000_000)["rows"][0]
        return 0 if row[0] is None else number(row[0])

    options = ", idle_timeout = '4s', ahead_max = '1h'"
    with setting.server(lateness_s=0, options=options) as server:
        for second in range(3):
            pay(0, second)
            pay(1, second + 10)
        await_caught_up(server, 6)
        findings.claim(closed(server) == 0, "idle: windows closed while a partition had never had an event")
        until = time.monotonic() + WAIT_S
        while closed(server) == 0 and time.monotonic() < until:
            pay(0, 3 + time.monotonic() % 1 / 10)
            pay(1, 13 + time.monotonic() % 1 / 10)
            time.sleep(0.3)
        # The silent one is idle: by the least of the others, at second 3.
        findings.claim(closed(server) == 3, f"idle: {closed(server)} payments are in closed windows, not 3")
        before = server.counts("payments")
        pay(2, 0.5)
        await_caught_up(server, before["in"] + 1)
        findings.claim(server.counts("payments")["late"] == before["late"], "idle: an event of a silent partition is late in it")
        told = json.loads(server.call("GET", "/v1/objects/seconds")[1])
        findings.claim(told["windows"]["too_late"] == 1, f"idle: too late for windows: {told['windows']}")
    return "windows waited for the silent partition, then went on"


# ------------------------------------------------------------------------------------------------------------- lost


def check_lost(setting):
    from confluent_kafka import TopicPartition

    findings, cluster = setting.findings, setting.cluster
    cluster.create_topic(setting.topic, partitions=2)
    payments = Payments(cluster, setting.topic, setting.options.seed, partitions=2)
    payments.send(200)
    payments.flush()
    server = setting.server()
    with server:
        await_caught_up(server, 200)
    before = read_topic(cluster, setting.topic, 2)
    payments.send(200)
    payments.flush()
    everything = read_topic(cluster, setting.topic, 2)
    ends = {partition: max(offset for own, offset, _ in everything if own == partition) + 1 for partition in (0, 1)}
    gone = ends[0] - 20
    deleted, admin = TopicPartition(setting.topic, 0, gone), cluster.admin()  # held until it has answered
    admin.delete_records([deleted])[deleted].result(fed_project.CALL_S)
    wanted = before + [one for one in everything if one not in before and (one[0] == 1 or one[1] >= gone)]
    server.start()
    stopped = metric(server, "asof_kafka_stopped_partitions", 1)
    trouble = feed_of(server)["trouble"] or ""
    findings.claim(stopped and "gone before they were read" in trouble, f"lost: it goes on: {feed_of(server)}")
    status, _ = server.call("GET", "/readyz")
    findings.claim(status == 503, f"lost: /readyz is {status}")
    server.stop()
    fed_project.write(server.folder, cluster.bootstrap, setting.topic, options=", lost_messages = 'skip'")
    with server:
        await_caught_up(server, len(wanted))
        Expected(wanted).check(server, findings)
        lost = gone - 1 - max(offset for partition, offset, _ in before if partition == 0)
        findings.claim(metric(server, "asof_kafka_lost_messages_total", lost), f"lost: {feed_of(server)}, not {lost}")
    return f"{lost} messages deleted"


# ---------------------------------------------------------------------------------------------------------- secured


def secure(cluster, folder):
    """Listeners with SCRAM, in the clear and over TLS."""
    broker = cluster.broker(1)
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    store = certificate(folder / "certificate")
    for name, protocol in (("secured", "SASL_PLAINTEXT"), ("encrypted", "SASL_SSL")):
        broker.add_listener(name.upper(), protocol)
        broker.settings |= {
            f"listener.name.{name}.sasl.enabled.mechanisms": "SCRAM-SHA-256",
            f"listener.name.{name}.scram-sha-256.sasl.jaas.config": scram,
        }
    broker.settings |= {
        "listener.name.encrypted.ssl.keystore.location": str(store / "broker.p12"),
        "listener.name.encrypted.ssl.keystore.type": "PKCS12",
        "listener.name.encrypted.ssl.keystore.password": PASSWORD,
    }
    cluster.format_options += ["--add-scram", f'SCRAM-SHA-256=[name={USER},password="{PASSWORD}"]']


def certificate(folder):
    """A key of the broker that it has signed itself: broker.p12 for it, ca.pem for who believes it."""
    import subprocess

    folder.mkdir(parents=True)
    keytool = str(Path(programs.java()).with_name("keytool"))
    common = ["-keystore", str(folder / "broker.p12"), "-storetype", "PKCS12", "-storepass", PASSWORD, "-alias", "broker"]
    make = [keytool, "-genkeypair", *common, "-keyalg", "EC", "-validity", "2", "-dname", "CN=127.0.0.1", "-ext",
            "SAN=ip:127.0.0.1", "-ext", "bc:c"]
    show = [keytool, "-exportcert", "-rfc", *common, "-file", str(folder / "ca.pem")]
    for command in (make, show):
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode != 0:
            raise Failed(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    return folder


def check_secured(setting):
    findings, cluster = setting.findings, setting.cluster
    cluster.create_topic(setting.topic, partitions=2)
    payments = Payments(cluster, setting.topic, setting.options.seed, partitions=2)
    payments.send(200)
    payments.flush()
    expected = Expected(read_topic(cluster, setting.topic, 2))
    scram = f'mechanism = "SCRAM-SHA-256"\nusername = "{USER}"\npassword = "${{FED_PASSWORD}}"\n'
    ca_file = setting.folder.parent / "certificate" / "ca.pem"
    ways = {
        "SECURED": f'security = "sasl_plaintext"\n{scram}',
        "ENCRYPTED": f'security = "sasl_ssl"\n{scram}ca_file = "{ca_file}"\n',
    }
    for listener, written in ways.items():
        brokers = cluster.bootstrap_of(listener)
        with secured(setting, listener.lower(), brokers, written, PASSWORD) as server:
            await_caught_up(server, sum(expected.counts.values()))
            expected.check(server, findings)
        server = secured(setting, f"{listener.lower()}-wrong", brokers, written, "another")
        server.start()
        told = await_trouble(server)
        findings.claim("password" in told and "hint" in told, f"secured: a wrong password is told as {told!r}")
        findings.claim("another" not in server.said(), "secured: the password is in the log")
        server.stop()
    # Nobody believes the certificate without ca_file, and TLS is not spoken to who speaks in the clear.
    for name, written in (("unknown", f'security = "sasl_ssl"\n{scram}'), ("clear", "")):
        server = secured(setting, name, cluster.bootstrap_of("ENCRYPTED"), written, PASSWORD)
        server.start()
        findings.claim(await_trouble(server), f"secured: {name}: no trouble is told")
        server.stop()
    return "SCRAM in the clear and over TLS"


def secured(setting, name, brokers, written, password):
    project = fed_project.write(setting.folder / name, brokers, setting.topic, settings=written)
    return LiveServer(setting.options.asof, project, settings=parts.SETTINGS | {"FED_PASSWORD": password})


def await_trouble(server):
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        try:
            if trouble := feed_of(server)["trouble"]:
                return trouble
        except (OSError, KeyError, ValueError):
            pass
        time.sleep(0.1)
    return ""


PARTS = {
    "starts": check_starts,
    "idle": check_idle,
    "kills": check_kills,
    "outages": check_outages,
    "lost": check_lost,
    "secured": check_secured,
}

if __name__ == "__main__":
    main()
