"""`asof run` as a child process on a free port of this machine; always stopped at the end."""

import http.client
import json
import signal
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path

from serving import process

START_S_MAX = 60  # until it listens
STOP_S_MAX = 60
POLL_S = 0.05


class Server:
    """Used as `with Server(asof, folder) as server`. It listens at once and is ready once its unpaced files are taken in."""

    def __init__(self, asof, folder, arguments=()):
        self.port = free_port()
        self.log = Path(folder) / "server.log"
        self.command = [asof, "run", folder, "--listen", f"127.0.0.1:{self.port}", *arguments]
        self.process = None

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(word) for word in self.command], stdout=log, stderr=log)
        try:
            self.wait_until(lambda: self.status("/healthz") == 200, START_S_MAX)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind, *_):
        """Ctrl-C, as its user would; a server that does not end well fails the benchmark, unless it was killed inside."""
        if kind is None and self.process.returncode == -signal.SIGKILL:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit(f"the server did not stop within {STOP_S_MAX} s of Ctrl-C; its log: {self.log}")
        if code != 0 and kind is None:
            raise SystemExit(f"the server ended with {code} after Ctrl-C:\n{self.said()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait_ready(self, seconds_max, meanwhile=lambda: None, every_s=POLL_S):
        """Waits for /readyz and calls `meanwhile` each time it is not ready yet."""
        def is_ready():
            if self.status("/readyz") == 200:
                return True
            meanwhile()
            return False

        self.wait_until(is_ready, seconds_max, every_s)

    def wait_until(self, holds, seconds_max, every_s=POLL_S):
        ends = time.monotonic() + seconds_max
        while not holds():
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with {self.process.returncode}:\n{self.said()}")
            if time.monotonic() > ends:
                raise SystemExit(f"the server was not ready within {seconds_max} s; its log: {self.log}")
            time.sleep(every_s)

    def said(self):
        return self.log.read_text(errors="replace")[-4000:]

    def status(self, path):
        """The status of a GET, 0 while nobody listens."""
        try:
            return self.request("GET", path)[0]
        except ConnectionRefusedError:
            return 0

    def get(self, path):
        return self.answered("GET", path)

    def read(self, service, rows, as_of_us=None):
        return self.answered("POST", f"/v1/services/{service}/features", json.dumps({"rows": rows, "as_of": as_of_us}))

    def metrics(self):
        return self.request("GET", "/metrics")[1].decode()

    def answered(self, method, path, body=None):
        status, text = self.request(method, path, body)
        if status != 200:
            raise SystemExit(f"{method} {path} answered {status}: {text[:1000].decode(errors='replace')}")
        return json.loads(text)

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"content-type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def replay(self, stream):
        """`Replay` of the stream's file, so far."""
        told = self.get(f"/v1/objects/{stream}")
        assert told["counts"]["used"] == told["counts"]["in"], f"not every event was used: {told['counts']}, {told['reasons']}"
        return Replay(told["replay"])

    def resident_bytes(self):
        return process.resident_bytes(self.process.pid)

    def peak_bytes(self):
        return process.peak_bytes(self.process.pid)

    def cpu_s(self):
        return process.cpu_s(self.process.pid)


class Replay:
    """How far a file's replay is. Times in seconds since 1970."""

    def __init__(self, told):
        self.rows = told["rows"]
        self.started = datetime.fromisoformat(told["started_at"]).timestamp() if told["started_at"] else None


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
