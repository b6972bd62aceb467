"""`asof run` over a topic, from its start until it says that nothing of the topic is left to read."""

import json
import time

from measure import Measurement
from serving.server import Server
from topics.messages import PARTITIONS
from topics.projects import STREAM

READ_S_MAX = 1_800


class AsofReader:
    """A contender of measure.py. `project` makes its folder anew for each run, `events` are in the topic."""

    def __init__(self, name, asof, project, events):
        self.name, self.asof, self.project, self.events = name, asof, project, events

    def run(self):
        folder, began = self.project(), time.perf_counter()
        with Server(self.asof, folder) as server:
            server.wait_until(lambda: has_all(server, self.events), READ_S_MAX)
            return Measurement(time.perf_counter() - began, server.cpu_s(), server.peak_bytes() / 2**20)


def has_all(server, events):
    """Whether every partition is read to its end and every event is used: a late or rejected one fails the run."""
    status, text = server.request("GET", f"/v1/objects/{STREAM}")
    if status != 200:
        return False
    told = json.loads(text)
    if told["feed"]["stopped"]:
        raise SystemExit(f"the topic is read no further: {told['feed']['trouble']}")
    counts, lags = told["counts"], [partition["lag"] for partition in told["feed"]["partitions"]]
    if counts["used"] != counts["in"]:
        raise SystemExit(f"not every event was used: {counts}, {told['reasons']}")
    return lags == [0] * PARTITIONS and counts["in"] == events
