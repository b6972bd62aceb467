"""When a server is killed. Each waits for its moment and kills; seen from outside, by the files that come and go.

`any`         at a random moment under load
`checkpoint`  while a checkpoint is written: a part of it is there, its manifest is not
`sealing`     just when the log has begun a new segment
`start-up`    before it is ready: it is started anew behind the kill, and killed once more at a random moment of its start
"""

import os
import time

from running_server import Defect

LOAD_S = (0.2, 1.5)
WAIT_S_MAX = 20  # for a checkpoint or a new segment, under load
STARTS_KILLED = (1, 3)


def any_moment(server, chance):
    time.sleep(chance.uniform(*LOAD_S))
    server.kill()


def checkpoint(server, chance):
    time.sleep(chance.uniform(0, LOAD_S[0]))
    before = unfinished_checkpoints(server.data)
    wait_for(server, lambda: unfinished_checkpoints(server.data) - before, "a checkpoint in progress")
    time.sleep(chance.uniform(0, 0.003))
    server.kill()


def sealing(server, chance):
    time.sleep(chance.uniform(0, LOAD_S[0]))
    before = files(server.data / "log", ".segment")
    wait_for(server, lambda: files(server.data / "log", ".segment") - before, "a new segment")
    time.sleep(chance.uniform(0, 0.003))
    server.kill()


def start_up(server, chance):
    any_moment(server, chance)
    for _ in range(chance.randint(*STARTS_KILLED)):
        server.start()
        time.sleep(chance.uniform(0, server.ready_s))
        server.kill()


MOMENTS = {"any": any_moment, "checkpoint": checkpoint, "sealing": sealing, "start-up": start_up}


def wait_for(server, happened, what):
    until = time.monotonic() + WAIT_S_MAX
    while not happened():
        if server.process.poll() is not None:
            raise Defect(f"the server ended with {server.process.returncode} under load:\n{server.said()}")
        if time.monotonic() > until:
            raise Defect(f"{what} was not seen within {WAIT_S_MAX} s under load")
        time.sleep(0.0005)


def files(folder, ending):
    """Paths below a folder, which may change meanwhile."""
    return {os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if name.endswith(ending)}


def unfinished_checkpoints(data):
    """(generation, epoch) of those with parts and no manifest: in progress, left by a kill, or pruned but for a part still named.

    Parts lie in checkpoints/STREAM/PARTITION/GENERATION/EPOCH, manifests are called GENERATION-EPOCH.json.
    """
    # Parts are listed first: a checkpoint that finishes in between is then not taken for one in progress.
    parts = {tuple(path.split(os.sep)[-3:-1]) for path in files(data / "checkpoints", ".part")}
    manifests = {tuple(os.path.basename(path)[:-5].split("-")) for path in files(data / "checkpoints" / "manifests", ".json")}
    return parts - manifests
