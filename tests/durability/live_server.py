"""An `asof run` with a data folder, that is killed and started again on the same port.

`start` does not wait; `wait_ready` does. What it says goes to one file, over all starts. Values are compared as text: see
`tokens` of tests/serving/running_server.py.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from running_server import Defect, tokens  # of tests/serving

READY_S = 60
STOP_S = 30
CALL_S = 20
POLL_S = 0.005
FORMS = {"json": "application/json", "ndjson": "application/x-ndjson", "arrow": "application/vnd.apache.arrow.stream"}


class LiveServer:
    def __init__(self, asof, folder, data=None, settings=None, name=None):
        """`name` of its log, where two servers share a folder."""
        self.asof, self.folder = Path(asof), Path(folder)
        self.data = Path(data) if data else self.folder / ".asof"
        self.port = free_port()
        self.log = self.folder.with_name(f"{name or self.folder.name}.log")
        self.log.unlink(missing_ok=True)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("ASOF_")}
        self.environment |= {**(settings or {}), "NO_COLOR": "1"}
        self.process = None
        self.ready_s = 0.0  # what the last start took

    def __enter__(self):
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, kind, *_):
        if self.process and self.process.poll() is None:
            if kind is None:
                self.stop()
            else:
                self.kill()

    def start(self, *arguments):
        where = ["--data-dir", self.data, "--listen", f"127.0.0.1:{self.port}"]
        command = [self.asof, "run", self.folder, *where, *arguments]
        self.started = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, env=self.environment)

    def wait_ready(self):
        while not self.is_ready():
            if (code := self.process.poll()) is not None:
                raise Defect(f"the server ended with {code} instead of becoming ready:\n{self.said()}")
            if time.monotonic() - self.started > READY_S:
                raise Defect(f"the server was not ready within {READY_S} s:\n{self.said()}")
            time.sleep(POLL_S)
        self.ready_s = time.monotonic() - self.started

    def is_ready(self):
        try:
            return self.call("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self):
        """SIGKILL: nothing is written any more from here on."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Defect(f"the server did not end within {STOP_S} s of Ctrl-C:\n{self.said()}")
        if code != 0:
            raise Defect(f"Ctrl-C was answered with exit code {code}:\n{self.said()}")

    def restart(self):
        self.start()
        self.wait_ready()

    def said(self, from_byte=0):
        return self.log.read_bytes()[from_byte:].decode(errors="replace")[-6000:]

    def call(self, method, path, body=None, headers=None, connection=None):
        """Status and text, over a connection of its own if none is given."""
        link = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_S)
        try:
            link.request(method, path, body, headers or {})
            response = link.getresponse()
            return response.status, response.read().decode()
        finally:
            if connection is None:
                link.close()

    def post(self, stream, body, form="ndjson", key=None, connection=None):
        """Posts events; status and the answer's object."""
        headers = {"content-type": FORMS[form]} | ({"idempotency-key": key} if key else {})
        status, text = self.call("POST", f"/v1/streams/{stream}/events", body, headers, connection)
        return status, json.loads(text)

    def ask(self, kind, name, rows, as_of_us=None):
        """The answer of a view or a service, with every number as its text."""
        body = json.dumps({"rows": rows, "as_of": as_of_us})
        status, text = self.call("POST", f"/v1/{kind}s/{name}/features", body)
        if status != 200:
            raise Defect(f"a read of {kind} {name} was answered with {status}: {text[:1000]}")
        return tokens(text)

    def counts(self, stream):
        """What became of the events of a stream."""
        status, text = self.call("GET", f"/v1/objects/{stream}")
        if status != 200:
            raise Defect(f"GET /v1/objects/{stream}: {status} {text}")
        return json.loads(text)["counts"]

    def history(self, *arguments):
        """Runs `asof history` over the log of this server; its exit code and what it says on standard error."""
        command = [str(word) for word in (self.asof, "history", self.folder, "--data-dir", self.data, *arguments)]
        ran = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        return ran.returncode, ran.stderr


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
