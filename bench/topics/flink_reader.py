"""Flink over a topic, from the start of its process until its job has read what the topic had.

The job is contenders/flink_topic.py. CPU time and memory are those of its JVM alone, which has all of Flink in it: the Python
program that hands the SQL over, some two seconds of CPU time, is not charged. Wall time is from the start of that program.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import programs
from measure import Measurement
from serving import process
from serving.projects import BENCH, TEN

POM = Path(__file__).with_name("pom.xml")
PROGRAM = BENCH / "contenders" / "flink_topic.py"
JVM_OPTIONS = "-XX:+UseParallelGC -Xmx4g"


class FlinkReader:
    """A contender of measure.py. `form` and `backend` are those of the program; `out` is a folder for its rows, if wanted."""

    def __init__(self, name, brokers, topic, form, backend="hashmap", out=None):
        self.name, self.out = name, out
        self.command = [sys.executable, PROGRAM, "--form", form, "--backend", backend, "--jar", connector(),
                        "--brokers", brokers, "--topic", topic, "--view", TEN, *(["--out", out] if out else [])]

    def run(self):
        with tempfile.TemporaryDirectory(prefix="asof-flink-") as work:
            environment = {**os.environ, "JVM_ARGS": JVM_OPTIONS, "FLINK_LOG_DIR": work}
            said, began_s = Path(work) / "said.txt", time.monotonic()
            with open(said, "wb") as errors:
                job = subprocess.Popen([str(word) for word in [*self.command, "--work", work]], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
            with job:
                try:
                    return self.measured(job, began_s, said)
                except BaseException:
                    job.kill()  # the JVM ends with it
                    raise

    def measured(self, job, began_s, said):
        line = next((line for line in job.stdout if line.startswith("{")), None)
        if line is None:
            raise SystemExit(f"`{self.name}` ended with {job.wait()}:\n{said.read_text(errors='replace')[-6000:]}")
        told = json.loads(line)
        return Measurement(told["finished_s"] - began_s, process.cpu_s(told["pid"]), process.peak_bytes(told["pid"]) / 2**20)


def connector():
    """The connector's jar, fetched on its first use."""
    jar, = (programs.fetched(POM, "Flink's connector for Kafka, some 11 MB") / "flink").glob("flink-sql-connector-kafka-*.jar")
    return jar
