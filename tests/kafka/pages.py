"""Pages that show a topic, run as tests/docs/console.py runs pages: beside `asof` the path has Kafka's own tools.

A page says 127.0.0.1:9092, where a broker stands by itself, and 127.0.0.1:8081, where a schema registry does; here the cluster and
the registry of the test stand for them, in the commands, in the files that the page writes, and in what is printed. That is the one
difference.
"""

import json
import shlex
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "docs"))  # console.py

from console import Session

SHOWN_BROKER = "127.0.0.1:9092"
SHOWN_REGISTRY = "http://127.0.0.1:8081"
WAIT_S = 30
POLL_S = 0.05
READY = '{"status":"ready"}'
# What the scripts of Kafka's `bin` folder run.
TOOLS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-get-offsets.sh": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-transactions.sh": "org.apache.kafka.tools.TransactionsCommand",
}
# As in Kafka's own tools: nothing of what is usual.
QUIET_TOOLS = """
status = error
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


class TopicSession(Session):
    def __init__(self, folder, asof, cluster, registry=None):
        registries = {SHOWN_REGISTRY: registry.url} if registry else {}
        super().__init__(folder, asof, {SHOWN_BROKER: cluster.bootstrap} | registries)
        programs = self.folder / ".programs"
        logging = programs / "log4j2.properties"
        logging.write_text(QUIET_TOOLS)
        for name, main_class in TOOLS.items():
            # Of two settings Java takes the last.
            command = [f"-Dlog4j2.configurationFile={logging}" if "log4j2" in word else word for word in cluster.java(main_class)]
            script = programs / name
            script.write_text(f'#!/usr/bin/env bash\nexec {shlex.join(command)} "$@"\n')
            script.chmod(0o755)

    def fetch(self, path):
        """The answer's text, whatever its status; nothing while nobody listens."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), AnyStatus())
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=WAIT_S) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def feed(self, stream):
        """What /v1/objects says of the topic of a stream."""
        return json.loads(self.fetch(f"/v1/objects/{stream}") or "{}").get("feed")

    def wait_ready(self):
        self.wait_for(lambda: self.fetch("/readyz") == READY, "to be ready")

    def wait_for(self, happened, what):
        """A reader's fingers are slower than the server; a script's are not."""
        until = time.monotonic() + WAIT_S
        while not (result := happened()):
            if time.monotonic() > until:
                raise TimeoutError(f"the server was waited for {what}, {WAIT_S} s:\n{self.server_text()}")
            time.sleep(POLL_S)
        return result


class AnyStatus(urllib.request.HTTPErrorProcessor):
    def http_response(self, _request, response):
        return response
