"""An `asof run` of the tests, on a free port of this machine, and the questions put to it.

A server is stopped by SIGINT and must then exit with 0, whatever it was asked before.
Values are compared as text: `tokens` reads JSON with every number as the digits it was written with.
"""

import http.client
import json
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

READY_S = 60  # a year of flights takes two seconds
STOP_S = 15
CALL_ROWS = 3_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Defect(Exception):
    """What must not be, and ends the check that met it."""


@dataclass
class Answer:
    as_of_us: int
    rows: list  # of lists of tokens
    known: dict  # view → list of booleans
    position: dict  # stream → rows visible
    watermark_us: dict  # stream → instant or None
    newest_us: dict


@dataclass
class Refused:
    status: int
    kind: str
    message: str  # with the hint


def refuse_constant(text):
    raise Defect(f"`{text}` stands bare in JSON")


# 1 is not 1.0, and neither is the text "1".
DECODER = json.JSONDecoder(parse_int="#".__add__, parse_float="#".__add__, parse_constant=refuse_constant)


def tokens(text):
    """JSON with each number as its own text behind a `#`."""
    return DECODER.decode(text)


def instant_text(instant_us):
    return (EPOCH + timedelta(microseconds=instant_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def instant_us(text):
    """The microseconds of an instant as the server writes it; None stays None."""
    if text is None:
        return None
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text):
        raise Defect(f"`{text}` is not RFC 3339 with microseconds")
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


class Server:
    """Use it in a `with`: it is ready inside, and stopped behind."""

    def __init__(self, asof, folder, *arguments):
        self.command = [str(part) for part in (asof, "run", folder, "--listen", "127.0.0.1:0", *arguments)]

    def __enter__(self):
        # A file, not a pipe: nobody has to read it while the server runs.
        self.said = tempfile.NamedTemporaryFile("w")
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=self.said)
        try:
            self.port = self.wait_for(self.find_port, "its address")
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self.wait_for(lambda: self.call("GET", "/readyz")[0] == 200, "/readyz")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, kind, error, trace):
        self.connection.close()
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = f"nothing for {STOP_S} s"
        if code != 0 and error is None:
            raise Defect(f"SIGINT was answered with {code}, not exit code 0:\n{self.stderr()}")

    def wait_for(self, happened, what):
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Defect(f"`{' '.join(self.command)}` ended with {self.process.returncode}:\n{self.stderr()}")
            if found := happened():
                return found
            time.sleep(0.02)
        raise Defect(f"`{' '.join(self.command)}` was waited for {what} for {READY_S} s:\n{self.stderr()}")

    def stderr(self):
        return Path(self.said.name).read_text()

    def find_port(self):
        found = re.search(r"http://127\.0\.0\.1:([1-9]\d*)", self.stderr())
        return found and int(found[1])

    def call(self, method, path, body=None):
        """Status and text."""
        self.connection.request(method, path, body)
        response = self.connection.getresponse()
        return response.status, response.read().decode()

    def described(self, name):
        status, text = self.call("GET", f"/v1/objects/{name}")
        if status != 200:
            raise Defect(f"GET /v1/objects/{name}: {status} {text}")
        return json.loads(text)

    def ask(self, target, rows, as_of=None):
        """The answer for these rows, given as JSON texts; at most some thousand go into one call."""
        answers = [self.ask_once(target, rows[begin:begin + CALL_ROWS], as_of) for begin in range(0, len(rows), CALL_ROWS)]
        whole = answers[0]
        for part in answers[1:]:
            if (part.position, part.as_of_us) != (whole.position, whole.as_of_us):
                raise Defect(f"{target.name}: position or as-of moved between calls: {whole.position}, {part.position}")
            whole.rows += part.rows
            for view, known in part.known.items():
                whole.known[view] += known
        return whole

    def ask_once(self, target, rows, as_of=None):
        answer = self.try_ask(target, rows, as_of)
        if isinstance(answer, Refused):
            raise Defect(f"{target.name} as of {as_of}: {answer}")
        return answer

    def try_ask(self, target, rows, as_of=None):
        """An Answer, or what the server has against it. `as_of`: RFC 3339 text or microseconds."""
        instant = "" if as_of is None else f'"as_of":{json.dumps(as_of)},'
        path = f"/v1/{target.kind}s/{target.name}/features"
        status, text = self.call("POST", path, f'{{{instant}"rows":[{",".join(rows)}]}}'.encode())
        if status != 200:
            error = json.loads(text)["error"]
            return Refused(status, error["kind"], f"{error['message']} {error.get('hint') or ''}")
        return checked(target, len(rows), tokens(text))


def checked(target, rows, found):
    """The answer, if it has the shape that docs/reference/http.md promises."""
    expected = {target.kind, "as_of", "columns", "rows", "known", "position", "streams"}
    wrong = [
        f"fields {sorted(found)}" if set(found) != expected else None,
        f"{target.kind} `{found.get(target.kind)}`" if found.get(target.kind) != target.name else None,
        f"columns {found.get('columns')}" if found.get("columns") != target.columns else None,
        f"{len(found.get('rows', []))} rows" if len(found.get("rows", [])) != rows else None,
        f"known of {list(found.get('known', []))}" if list(found.get("known", [])) != target.views else None,
        f"streams {list(found.get('streams', []))}" if set(found.get("streams", [])) != set(target.streams) else None,
        f"position of {list(found.get('position', []))}" if set(found.get("position", [])) != set(target.streams) else None,
    ]
    if any(wrong):
        raise Defect(f"an answer of `{target.name}` to {rows} rows has {', '.join(filter(None, wrong))}")
    return Answer(
        as_of_us=instant_us(found["as_of"]),
        rows=found["rows"],
        known=found["known"],
        position={stream: sum(int(offset[1:]) for offset in offsets) for stream, offsets in found["position"].items()},
        watermark_us={stream: instant_us(told["watermark"]) for stream, told in found["streams"].items()},
        newest_us={stream: instant_us(told["newest_event"]) for stream, told in found["streams"].items()},
    )
