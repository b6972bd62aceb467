"""A real Prometheus (the Debian package), and promtool: run over files of rules, and asked over its HTTP API."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from live_server import free_port
from running_server import Defect

PACKAGE = "prometheus"  # it holds promtool too
START_S_MAX = 60
POLL_S = 0.1


def require():
    """Makes sure of both programs: root gets the Debian package, anybody else is told what to install."""
    if not found() and os.geteuid() == 0 and shutil.which("apt-get"):
        # RUNLEVEL: the package would start a server of its own, which nobody wants here.
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        quiet = {"env": environment, "stdout": subprocess.DEVNULL, "check": True}
        subprocess.run(["apt-get", "update"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", PACKAGE], **quiet)
    if not found():
        told = f"no prometheus and promtool on the path: as root `apt-get install {PACKAGE}` (Debian), or unpack a release"
        print(told, file=sys.stderr)
        sys.exit(2)


def found():
    return shutil.which("prometheus") and shutil.which("promtool")


def promtool(*arguments):
    """Runs it; what it says if it is not content, else None."""
    ran = subprocess.run(["promtool", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return ran.stdout if ran.returncode != 0 else None


class Prometheus:
    """Scrapes one server every second and evaluates rules as often. Use it in a `with`."""

    def __init__(self, folder, target_port):
        self.folder, self.port = Path(folder), free_port()
        self.folder.mkdir()
        self.rules = self.folder / "rules.yml"
        self.target_port = target_port

    def __enter__(self):
        self.write_configuration()
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([
                "prometheus", f"--config.file={self.folder / 'prometheus.yml'}", f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
            ], stdout=log, stderr=log)
        self.wait_for(self.is_ready, "to be ready")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def write_configuration(self):
        """That of deploy/, but for the times and the place of the server."""
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self.rules)],
            "scrape_configs": [{"job_name": "asof", "static_configs": [{"targets": [f"127.0.0.1:{self.target_port}"]}]}],
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML

    def load(self, groups):
        """Other rules from now on; told by their number at least."""
        self.rules.write_text(json.dumps({"groups": groups}))
        self.process.send_signal(signal.SIGHUP)
        wanted = {group["name"] for group in groups}
        self.wait_for(lambda: {group["name"] for group in self.groups()} == wanted, "to load rules")

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def api(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Defect(f"Prometheus refuses {path} {parameters}: {error.read().decode()}")

    def groups(self):
        return self.api("rules")["groups"]

    def firing(self):
        """(alert's name, its labels, its annotations) of those that fire now."""
        alerts = [alert for alert in self.api("alerts")["alerts"] if alert["state"] == "firing"]
        return [(alert["labels"]["alertname"], alert["labels"], alert["annotations"]) for alert in alerts]

    def query(self, expression):
        return self.api("query", query=expression)["result"]

    def wait_for(self, happened, what, seconds_max=START_S_MAX):
        until = time.monotonic() + seconds_max
        while not (result := happened()):
            if self.process.poll() is not None or time.monotonic() > until:
                raise Defect(f"Prometheus was waited for {what}:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(POLL_S)
        return result
