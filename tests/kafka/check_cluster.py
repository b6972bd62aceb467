"""That the brokers of these tests are real: what librdkafka's own mock of a cluster would let pass is asked for here.

    target/venv/bin/python tests/kafka/check_cluster.py                  all parts
    target/venv/bin/python tests/kafka/check_cluster.py --only one three --keep kafka-logs

| Part | What is done | What must hold |
|---|---|---|
| orphans | a program with a child gets SIGKILL, another SIGINT | the child is gone |
| one | transactions committed and aborted; a second producer with the same transactional.id | `read_committed` shows what was committed, `read_uncommitted` all; the first producer is fenced |
| one | SIGSTOP, SIGCONT, SIGTERM, start; a black hole in front of the broker | nothing is acknowledged meanwhile; then all is, and is there |
| one | SCRAM on a listener of its own | a wrong password is refused |
| registry | Avro and Protobuf schemas, the same twice, an incompatible one | ids and refusals as in Confluent's |
| three | SIGKILL of a leader during writes with acks=all, restart | nothing acknowledged is missing; it is in sync again |

Prints start times and resident memory. Needs Java and Maven (programs.py says which), and confluent-kafka of
tests/requirements.txt, which `scripts/test` puts into target/venv. Exit 1 on any difference. `--keep` leaves logs and data.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "serving"))  # findings.py

import programs
from children import Failed
from cluster import Cluster
from findings import Findings
from proxy import Proxy
from registry import Refused, Registry

CALL_S = 30
READ_S_MAX = 60
FEW = 100
MANY = 3_000
GONE_S_MAX = 10
OUTAGE_S = 1
USER, PASSWORD = "asof", "a-password"


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    programs.require()
    programs.fetched()
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="asof-kafka-") as work:
        for part in options.only or PARTS:
            folder = (options.keep or Path(work)) / part
            folder.mkdir(parents=True)
            began = time.monotonic()
            try:
                PARTS[part](folder, findings)
            except (Failed, KafkaException) as failure:
                findings.tell(f"{part}: {failure}")
            findings.claim(not processes_of(folder), f"{part}: processes are left: {processes_of(folder)}")
            print(f"{part}: {time.monotonic() - began:.1f} s", flush=True)
    print(f"{findings.claims} claims, {findings.wrong} wrong")
    sys.exit(findings.wrong > 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts, in this order")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work here, and leave everything")
    return parser.parse_args()


# ---------------------------------------------------------------------------------------------------------- orphans


PARENT = """
import os, signal, sys, time
sys.path.append(sys.argv[1])
from children import Child, Guard
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
with Guard() as guard:
    child = Child("sleep", sys.argv[2], ready="")
    child.adopt(guard, ["sleep", "600"])
    child.start()
    child.pause()
    print(child.process.pid, flush=True)
    time.sleep(60)
"""


def check_orphans(folder, findings):
    """A paused child too, which would not hear of SIGTERM."""
    for end in (signal.SIGKILL, signal.SIGINT):
        command = [sys.executable, "-c", PARENT, str(HERE), str(folder)]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        child = int(parent.stdout.readline())
        findings.claim(is_there(child), "orphans: the child does not run")
        parent.send_signal(end)
        parent.wait()
        until = time.monotonic() + GONE_S_MAX
        while is_there(child) and time.monotonic() < until:
            time.sleep(0.01)
        findings.claim(not is_there(child), f"orphans: the child runs on after {end.name} of the tests")


def is_there(pid):
    asked = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return asked.stdout.strip() not in ("", "Z", "Zs")


def processes_of(folder):
    listed = subprocess.run(["ps", "-A", "-o", "pid=,args="], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if f"{folder}/" in line]


# -------------------------------------------------------------------------------------------------------- one broker


def check_one(folder, findings):
    cluster, proxy = Cluster(folder), Proxy()
    secure(cluster)
    proxy.target = cluster.broker(1).add_listener("PROXIED", "PLAINTEXT", advertised=proxy.port)
    with proxy, cluster:
        print(f"one: resident {cluster.broker(1).memory_mib()} MiB after the start", flush=True)
        check_transactions(cluster, findings)
        check_zombie(cluster, findings)
        check_outages(cluster, proxy, findings)
        check_passwords(cluster, findings)
        print(f"one: resident {cluster.broker(1).memory_mib()} MiB at the end", flush=True)


def check_transactions(cluster, findings):
    cluster.create_topic("transfers", partitions=2)
    producer = transactional(cluster, "writer")
    expected = []
    for number, commits in enumerate([True, False, True, False]):
        producer.begin_transaction()
        values = [f"{number}/{row}" for row in range(FEW)]
        for value in values:
            producer.produce("transfers", value, partition=number % 2)
        if commits:
            producer.commit_transaction(CALL_S)
            expected += values
        else:
            producer.flush(CALL_S)  # the aborted records are in the log, and not only in the producer
            producer.abort_transaction(CALL_S)
    seen = read(cluster, "transfers", "read_committed")
    everything = read(cluster, "transfers", "read_uncommitted")
    findings.claim(sorted(seen) == sorted(expected), f"one: read_committed shows {len(seen)} records, not {len(expected)}")
    findings.claim(len(everything) == 4 * FEW, f"one: read_uncommitted shows {len(everything)} records, not {4 * FEW}")


def check_zombie(cluster, findings):
    cluster.create_topic("taken_over")
    zombie = transactional(cluster, "one-of-us")
    zombie.begin_transaction()
    zombie.produce("taken_over", "of the zombie")
    zombie.flush(CALL_S)
    successor = transactional(cluster, "one-of-us")
    try:
        zombie.commit_transaction(CALL_S)
        findings.claim(False, "one: the zombie could commit")
    except KafkaException as refusal:
        error = refusal.args[0]
        findings.claim(error.fatal() and error.code() == KafkaError._FENCED, f"one: the zombie was not fenced but got {error!r}")
    successor.begin_transaction()
    successor.produce("taken_over", "of the successor")
    successor.commit_transaction(CALL_S)
    seen = read(cluster, "taken_over", "read_committed")
    findings.claim(seen == ["of the successor"], f"one: after the take-over {seen} is read")
    said = cluster.tool("org.apache.kafka.tools.TransactionsCommand", "--bootstrap-server", cluster.bootstrap, "list")
    states = [line.split()[-1] for line in said.splitlines() if "one-of-us" in line]
    findings.claim(states == ["CompleteCommit"], f"one: the transaction of the successor is {states}")


def check_outages(cluster, proxy, findings):
    broker = cluster.broker(1)
    cluster.create_topic("outages")
    write_over_an_outage(cluster, "stopped", broker.pause, broker.go_on, findings)
    write_over_an_outage(cluster, "swallowed", proxy.swallow, proxy.let_through, findings)
    broker.stop()
    broker.restart()
    print(f"one: ready {broker.ready_s:.1f} s after its second start", flush=True)
    seen = read(cluster, "outages", "read_committed")
    findings.claim(seen == ["stopped", "swallowed"], f"one: after a restart {seen} is read")


def write_over_an_outage(cluster, value, begin, end, findings):
    """Through the proxy, which lets everything through unless told otherwise."""
    acknowledged = []
    producer = Producer(cluster.settings_of_client(bootstrap_servers=cluster.bootstrap_of("PROXIED"), acks="all"))
    producer.list_topics("outages", timeout=CALL_S)  # it is connected
    begin()
    producer.produce("outages", value, on_delivery=lambda error, _: acknowledged.append(error))
    producer.flush(OUTAGE_S)
    findings.claim(acknowledged == [], f"one: {value}, and acknowledged {acknowledged}")
    end()
    producer.flush(CALL_S)
    findings.claim(acknowledged == [None], f"one: no longer {value}, and acknowledged {acknowledged}")


def secure(cluster):
    """A listener for SCRAM beside that of everybody, with one user."""
    broker = cluster.broker(1)
    broker.add_listener("SECURED", "SASL_PLAINTEXT")
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    broker.settings |= {
        "listener.name.secured.sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "listener.name.secured.scram-sha-256.sasl.jaas.config": scram,
    }
    cluster.format_options += ["--add-scram", f'SCRAM-SHA-256=[name={USER},password="{PASSWORD}"]']


def check_passwords(cluster, findings):
    for password, accepted in ((PASSWORD, True), ("another", False)):
        consumer = Consumer(cluster.settings_of_client(
            bootstrap_servers=cluster.bootstrap_of("SECURED"), security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-256", sasl_username=USER, sasl_password=password, group_id="passwords",
        ))
        try:
            found = "outages" in consumer.list_topics(timeout=CALL_S if accepted else 2).topics
        except KafkaException:
            found = False
        consumer.close()
        findings.claim(found == accepted, f"one: password {password!r} is {'refused' if accepted else 'accepted'}")


# ---------------------------------------------------------------------------------------------------- schema registry


def check_registry(folder, findings):
    with Registry(folder) as registry:
        findings.claim(registry.call("GET", "/config") == {"compatibilityLevel": "NONE"}, "registry: compatibility is not NONE")
        check_avro(registry, findings)
        check_protobuf(registry, findings)
        print(f"registry: resident {registry.memory_mib()} MiB at the end", flush=True)


def check_avro(registry, findings):
    def schema(kind, *more):
        return {"type": "record", "name": "Payment", "fields": [{"name": "amount", "type": kind}, *more]}

    first = registry.register("payments-value", schema("long"))
    findings.claim(registry.register("payments-value", schema("long")) == first, "registry: the same schema has two ids")
    findings.claim(registry.register("refunds-value", schema("long")) == first, "registry: it has another id elsewhere")
    registry.set_compatibility("payments-value", "BACKWARD")
    wider = schema("long", {"name": "currency", "type": "string", "default": "EUR"})
    second = registry.register("payments-value", wider)
    findings.claim(second != first, "registry: two schemas have one id")
    latest = registry.latest("payments-value")
    findings.claim((latest["id"], latest["version"]) == (second, 2), f"registry: the latest is {latest}")
    try:
        registry.register("payments-value", schema("string"))
        findings.claim(False, "registry: an incompatible schema is accepted")
    except Refused as refusal:
        findings.claim(refusal.status == 409, f"registry: an incompatible schema is refused with {refusal}")
    registry.register("refunds-value", schema("string"))  # of NONE: not refused


def check_protobuf(registry, findings):
    money = 'syntax = "proto3"; package shop; message Money { int64 units = 1; }'
    payment = 'syntax = "proto3"; package shop; import "money.proto"; message Payment { Money amount = 1; }'
    references = [{"name": "money.proto", "subject": "money", "version": 1}]
    registry.register("money", money, kind="PROTOBUF")
    payment_id = registry.register("payments-protobuf", payment, kind="PROTOBUF", references=references)
    found = registry.schema(payment_id)
    findings.claim(found == (payment, references), f"registry: of the Protobuf schema it says {found}")


# ------------------------------------------------------------------------------------------------------ three brokers


def check_three(folder, findings):
    with Cluster(folder, brokers=3) as cluster:
        cluster.create_topic("payments", partitions=6)
        findings.claim(minimum_in_sync(cluster, "payments") == "2", "three: min.insync.replicas is not 2")
        killed = cluster.broker(cluster.leader("payments", 0))
        waited_s = write_over_a_kill(cluster, killed, findings)
        print(f"three: {waited_s:.1f} s from SIGKILL of a leader to its last record acknowledged", flush=True)
        seen = read(cluster, "payments", "read_committed")
        findings.claim(sorted(seen) == sorted(values()), f"three: {len(seen)} records are read, {MANY} were acknowledged")
        killed.restart()
        findings.claim(comes_back(cluster, killed.node), f"three: {killed.name} is not in sync again")
        resident = [broker.memory_mib() for broker in cluster.brokers]
        print(f"three: resident {resident} MiB at the end", flush=True)


def minimum_in_sync(cluster, topic):
    from confluent_kafka.admin import ConfigResource

    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = cluster.admin()  # held until it has answered
    return admin.describe_configs([resource])[resource].result(CALL_S)["min.insync.replicas"].value


def write_over_a_kill(cluster, leader, findings):
    """The leader dies when a third is acknowledged; the rest goes on to those that follow it."""
    failures, acknowledged, died = [], 0, None

    def delivered(error, _):
        nonlocal acknowledged
        acknowledged += 1
        if error:
            failures.append(error)

    producer = Producer(cluster.settings_of_client(acks="all", enable_idempotence=True))
    for number, value in enumerate(values()):
        producer.produce("payments", value, partition=number % 6, on_delivery=delivered)
        if number == MANY // 3:
            producer.flush(CALL_S)
            leader.kill()
            died = time.monotonic()
        producer.poll(0)
    left = producer.flush(READ_S_MAX)
    findings.claim((left, failures, acknowledged) == (0, [], MANY), f"three: {left} not acknowledged, failures {failures[:3]}")
    return time.monotonic() - died


def values():
    return [f"payment {number}" for number in range(MANY)]


def comes_back(cluster, node):
    until = time.monotonic() + CALL_S
    while time.monotonic() < until:
        if all(node in cluster.in_sync("payments", partition) for partition in range(6)):
            return True
        time.sleep(0.1)
    return False


# ------------------------------------------------------------------------------------------------------------ clients


def transactional(cluster, transactional_id):
    """A producer that has fenced those before it."""
    producer = Producer(cluster.settings_of_client(transactional_id=transactional_id))
    producer.init_transactions(CALL_S)
    return producer


def read(cluster, topic, isolation):
    """The values from the beginning of all partitions to their ends."""
    consumer = Consumer(cluster.settings_of_client(
        group_id="check", enable_auto_commit=False, isolation_level=isolation, enable_partition_eof=True
    ))
    partitions = cluster.leaders(topic)
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    seen, ended, until = [], set(), time.monotonic() + READ_S_MAX
    while len(ended) < len(partitions):
        message = consumer.poll(1)
        if time.monotonic() > until:
            raise Failed(f"{topic}: partitions {sorted(ended)} of {len(partitions)} were read to the end in {READ_S_MAX} s")
        if message is None:
            continue
        if not message.error():
            seen.append(message.value().decode())
        elif message.error().code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        elif not message.error().retriable():
            raise KafkaException(message.error())
    consumer.close()
    return seen


PARTS = {"orphans": check_orphans, "one": check_one, "registry": check_registry, "three": check_three}

if __name__ == "__main__":
    main()
