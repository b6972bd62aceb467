"""One real Kafka broker, or three, on loopback and in a folder of their own. Each is broker and controller (KRaft).

    with Cluster(folder, brokers=3) as cluster:
        cluster.create_topic("events", partitions=12)
        cluster.broker(cluster.leader("events", 0)).kill()

Three: each partition has three replicas, `min.insync.replicas` is 2, and topics of the cluster itself likewise. Settings, and
listeners with TLS or SASL, are added to a broker before the block is entered:

    cluster = Cluster(folder)
    cluster.broker(1).add_listener("SECURED", "SASL_PLAINTEXT")
    cluster.broker(1).settings["listener.name.secured.sasl.enabled.mechanisms"] = "SCRAM-SHA-256"

Below the folder: `broker-1/` with settings and data, `broker-1.log` over all starts, until the caller removes them.
"""

import hashlib
import logging
import os
import random
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import programs
from children import Child, Failed, Guard

READY_S = 90
TOPIC_S = 30
POLL_S = 0.05
CLUSTER_ID = "YXNvZi1hc29mLWFzb2YtYQ"  # any sixteen bytes in base64
SILENT = logging.getLogger("kafka-clients-of-the-tests")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
CLIENT, CONTROLLER = "CLIENT", "CONTROLLER"
# Below the ports that Linux and macOS give to outgoing connections: nobody takes a broker's port while it is down. Each is
# handed out once, in an order that no other test shares.
PORTS = iter(random.sample(range(20_000, 32_000), 12_000))
# Starts in two thirds of the time and takes less memory, but is slower in a long run; `java_options=STEADY` for those.
QUICK = ("-Xms32m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
STEADY = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")

SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": CONTROLLER,
    "inter.broker.listener.name": CLIENT,
    "auto.create.topics.enable": "false",
    # Few partitions: each is made anew at the first transaction and the first group. Six, so that three brokers share them.
    "offsets.topic.num.partitions": "6",
    "transaction.state.log.num.partitions": "6",
    "group.initial.rebalance.delay.ms": "0",
    # 128 MiB of heap otherwise.
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.backoff.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # A broker that was killed is missed after four seconds instead of nine, a transaction given up after its time and one.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


class Cluster:
    """Runs while its block does."""

    def __init__(self, folder, brokers=1, java_options=QUICK):
        self.folder = Path(folder)
        self.java_options = list(java_options)
        self.brokers = [Broker(node, self.folder) for node in range(1, brokers + 1)]
        # For the format command: `--add-scram`, `--feature` …
        self.format_options = []
        for broker in self.brokers:
            broker.settings |= replication(brokers) | {"controller.quorum.voters": voters(self.brokers)}

    def __enter__(self):
        programs.require()
        folder = programs.fetched()
        with ExitStack() as undo:
            self.begin(undo.enter_context(Guard()), folder, f"-XX:SharedArchiveFile={class_archive(folder)}")
            self.undo = undo.pop_all()
        return self

    def __exit__(self, *_):
        """SIGKILL for all: what they would tidy up is thrown away, and without a majority a controller waits long."""
        self.undo.close()

    def begin(self, guard, folder, classes):
        self.guard, self.jars, self.classes = guard, f"{folder / 'kafka'}/*", classes
        began = time.monotonic()
        for broker in self.brokers:
            broker.write_settings()
        formatting = [broker.format(self) for broker in self.brokers]
        for broker, process in zip(self.brokers, formatting):
            broker.await_format(process)
            self.guard.forget(process)
        print(f"kafka: formatted after {time.monotonic() - began:.1f} s", flush=True)
        for broker in self.brokers:
            broker.adopt(self.guard, self.java("kafka.Kafka", broker.properties))
            broker.start()
        for broker in self.brokers:
            broker.wait_ready()
            print(f"kafka: {broker.name} of {len(self.brokers)} ready {broker.ready_s:.1f} s after its start", flush=True)

    def java(self, main_class, *arguments):
        log = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}"
        return [programs.java(), *self.java_options, self.classes, log, "-cp", self.jars, main_class, *map(str, arguments)]

    def broker(self, node):
        return self.brokers[node - 1]

    @property
    def bootstrap(self):
        return self.bootstrap_of(CLIENT)

    def bootstrap_of(self, listener):
        return ",".join(f"127.0.0.1:{broker.listeners[listener].advertised}" for broker in self.brokers)

    def settings_of_client(self, **more):
        """For confluent_kafka: `acks="all"`, `group_id=…` and so on. Its own lines of brokers that are away are not shown."""
        given = {name.replace("_", "."): value for name, value in more.items()}
        return {"bootstrap.servers": self.bootstrap, "logger": SILENT} | given

    def tool(self, main_class, *arguments):
        """What one of Kafka's command line tools prints: `org.apache.kafka.tools.TransactionsCommand` and others."""
        ran = subprocess.run(self.java(main_class, *arguments), capture_output=True, text=True)
        if ran.returncode != 0:
            told = f"{main_class} {' '.join(map(str, arguments))} ended with {ran.returncode}"
            raise Failed(f"{told}:\n{ran.stdout}\n{ran.stderr}")
        return ran.stdout

    # ------------------------------------------------------------------------------------------ through confluent_kafka

    def admin(self):
        from confluent_kafka.admin import AdminClient

        return AdminClient(self.settings_of_client())

    def create_topic(self, name, partitions=1, **config):
        """`config`: as in Kafka, `cleanup_policy` for `cleanup.policy`. Waits until all partitions have leaders."""
        from confluent_kafka.admin import NewTopic

        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        admin = self.admin()
        admin.create_topics([NewTopic(name, partitions, len(self.brokers), config=config)])[name].result(TOPIC_S)
        until = time.monotonic() + TOPIC_S
        while len(found := self.leaders(name, admin)) < partitions or -1 in found.values():
            if time.monotonic() > until:
                raise Failed(f"topic {name} has leaders {found} after {TOPIC_S} s, {partitions} partitions were asked for")
            time.sleep(POLL_S)

    def leaders(self, topic, admin=None):
        """Partition → node of its leader, -1 where it has none."""
        described = (admin or self.admin()).list_topics(topic, timeout=TOPIC_S).topics[topic]
        return {number: partition.leader for number, partition in described.partitions.items()}

    def leader(self, topic, partition):
        return self.leaders(topic)[partition]

    def in_sync(self, topic, partition):
        """The nodes that have all of it."""
        return sorted(self.admin().list_topics(topic, timeout=TOPIC_S).topics[topic].partitions[partition].isrs)


class Broker(Child):
    """One of them; `start`, `stop`, `kill`, `pause` and `go_on` are those of any child."""

    def __init__(self, node, folder):
        super().__init__(f"broker {node}", folder / f"broker-{node}", ready="Kafka Server started")
        self.node = node
        self.listeners = {CLIENT: Listener("PLAINTEXT"), CONTROLLER: Listener("PLAINTEXT")}
        self.settings = SETTINGS | {"node.id": node, "log.dirs": self.folder / "data"}
        self.properties = self.folder / "server.properties"

    def add_listener(self, name, protocol, advertised=None):
        """One more, before the start; gives its port. `advertised`: the port of a proxy in front of it, which clients get."""
        self.listeners[name] = Listener(protocol, advertised)
        return self.listeners[name].port

    def write_settings(self):
        self.folder.mkdir(parents=True)
        names = self.listeners.items()
        clients = [(name, listener) for name, listener in names if name != CONTROLLER]
        settings = {
            "listeners": ",".join(f"{name}://127.0.0.1:{listener.port}" for name, listener in names),
            "advertised.listeners": ",".join(f"{name}://127.0.0.1:{listener.advertised}" for name, listener in clients),
            "listener.security.protocol.map": ",".join(f"{name}:{listener.protocol}" for name, listener in names),
        } | self.settings
        self.properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def format(self, cluster):
        command = cluster.java(
            "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", self.properties, *cluster.format_options
        )
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        cluster.guard.watch(process)
        return process

    def await_format(self, process):
        said = process.communicate()[0]
        if process.returncode != 0:
            raise Failed(f"{self.name} could not be formatted:\n{said}")

    def wait_ready(self, seconds_max=READY_S):
        super().wait_ready(seconds_max)

    def restart(self):
        """On the same port, with the same data."""
        self.start()
        self.wait_ready()


class Listener:
    def __init__(self, protocol, advertised=None):
        self.protocol, self.port = protocol, free_port()
        self.advertised = advertised or self.port


def class_archive(folder):
    """The classes of a broker as this JVM maps them: a start takes half the CPU time. Made once, by a start and a stop."""
    java_build = hashlib.sha256(programs.java_says().encode()).hexdigest()[:12]
    archive = folder / f"classes-{java_build}.jsa"
    if not archive.exists():
        print("kafka: a broker starts and stops once for its classes", flush=True)
        partial = archive.with_suffix(f".partial-{os.getpid()}")
        with tempfile.TemporaryDirectory(prefix="asof-kafka-") as work, Guard() as guard:
            cluster = Cluster(work)
            cluster.begin(guard, folder, f"-XX:ArchiveClassesAtExit={partial}")
            cluster.broker(1).stop()
        partial.rename(archive)
    return archive


def replication(brokers):
    """The settings that depend on how many there are; of three, one may be away."""
    in_sync_min = max(1, brokers - 1)
    return {
        "default.replication.factor": brokers,
        "min.insync.replicas": in_sync_min,
        "offsets.topic.replication.factor": brokers,
        "transaction.state.log.replication.factor": brokers,
        "transaction.state.log.min.isr": in_sync_min,
        "share.coordinator.state.topic.replication.factor": brokers,
        "share.coordinator.state.topic.min.isr": in_sync_min,
    }


def voters(brokers):
    return ",".join(f"{broker.node}@127.0.0.1:{broker.listeners[CONTROLLER].port}" for broker in brokers)


def free_port():
    """One on which nobody listens now."""
    for port in PORTS:
        with socket.socket() as probe:
            # As the broker will bind: connections of the past that still linger do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failed("all ports from 20000 to 31999 are taken")
