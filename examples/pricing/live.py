"""A server of this project for check_views.py, with a data folder of its own: what is sent to it, and asked."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.append(str(REPOSITORY / "tests" / "serving"))
from running_server import Defect, Server, tokens  # noqa: E402


class LiveServer(Server):
    def __init__(self, asof, stored):
        super().__init__(asof, HERE, "--data-dir", stored, "--clock", "event")
        self.asof, self.stored = asof, stored

    def ingest(self, stream, file):
        """The past, as the README loads it."""
        url = f"http://127.0.0.1:{self.port}"
        command = [self.asof, "ingest", stream, file, "--history", "--arrival-column", "arrived", "--url", url]
        said = subprocess.run(command, capture_output=True, text=True)
        if said.returncode != 0:
            raise Defect(f"asof ingest failed on {stream}:\n{said.stdout}{said.stderr}")

    def post(self, stream, events):
        """Sends events as they happen; returns what became of them."""
        return json.loads(self.answered(f"/v1/streams/{stream}/events", events))

    def vectors(self, service, rows, as_of):
        """The vectors as of an instant, each a dictionary of values as texts."""
        answer = tokens(self.answered(f"/v1/services/{service}/features", {"rows": rows, "as_of": as_of}))
        return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]

    def answered(self, path, body):
        status, text = self.call("POST", path, json.dumps(body))
        if status != 200:
            raise Defect(f"{path}: {status} {text}")
        return text
