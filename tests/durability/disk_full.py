"""A disk that fills up under ingestion: refused with 503 and a word why, reads go on, and so does ingestion when there is room.

The disk is a tmpfs of a few dozen megabytes, which takes the right to mount: root, or a user namespace
(`unshare --user --map-root-user --mount target/venv/bin/python tests/durability/kill.py --only disk`).
"""

import contextlib
import json
import os
import re
import subprocess
import time

import live_project
import same_answers
from live_server import LiveServer
from running_server import Defect

DISK_BYTES, BALLAST_BYTES = 48 << 20, 24 << 20
SETTINGS = {"ASOF_CHECKPOINT__INTERVAL": "500ms", "ASOF_STORAGE__SEGMENT_SIZE": "1MiB"}
ROWS = 1_000
POSTS_MAX = 2_000  # of about 60 KiB each in the log: several times the disk
ROOM_S_MAX = 15  # until it takes events again
READS = 200


def check(options, work, findings):
    with small_disk(work / "disk") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(BALLAST_BYTES))
        folder = live_project.write(work / "full")
        with LiveServer(options.asof, folder, disk / "data", SETTINGS) as server:
            used = fill(server, findings)
            check_reads(server, used, findings)
            check_metrics(server, findings)
            ballast.unlink()
            used = take_again(server, used, findings)
            server.kill()
            server.restart()
            check_reads(server, used, findings)
            same_answers.check(server, work, findings)
    return f"full after {used:,} events, read {READS} times while full, taken up again"


@contextlib.contextmanager
def small_disk(path):
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        raise Defect(f"cannot mount a tmpfs (user {os.geteuid()}): {mounted.stderr.strip()}\n{__doc__}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def post(server, number):
    """A batch of new events; status and answer."""
    now = same_answers.now_us()
    rows = [
        {"client": 0, "number": number * ROWS + row, "account_id": row % live_project.ACCOUNTS, "amount": "1.25", "ts": now}
        for row in range(ROWS)
    ]
    return server.post("transfers", "\n".join(map(json.dumps, rows)), key=f"batch {number}")


def fill(server, findings):
    """Posts until the disk is full: how many events were acknowledged."""
    for number in range(POSTS_MAX):
        status, answer = post(server, number)
        if status != 200:
            error = answer.get("error", {})
            words = f"{error.get('message', '')} {error.get('hint', '')}"
            findings.claim(status == 503, f"a full disk is answered with {status}: {answer}")
            findings.claim(re.search(r"disk|space|room", words) is not None, f"a full disk is told of as `{words}`")
            return number * ROWS
    raise Defect(f"{POSTS_MAX * ROWS} events did not fill {(DISK_BYTES - BALLAST_BYTES) >> 20} MiB")


def counted(server):
    return int(server.ask("view", "client_transfers", [{"client": 0}])["rows"][0][0][1:])


def check_reads(server, used, findings):
    """Reads are answered, and know what was acknowledged and no more."""
    for _ in range(READS):
        found = counted(server)
        if found != used:
            return findings.claim(False, f"{used} events were acknowledged, a read counts {found}")
    findings.claim(server.call("GET", "/healthz")[0] == 200, "/healthz does not answer 200")


def check_metrics(server, findings):
    text = server.call("GET", "/metrics")[1]
    refused = re.search(r'^asof_ingest_refused_total\{[^}]*reason="disk"[^}]*\} (\S+)', text, re.M)
    is_counted = refused is not None and float(refused[1]) >= 1
    findings.claim(is_counted, "asof_ingest_refused_total does not count what the disk refused")


def take_again(server, used, findings):
    """The refused batch, again until it is taken, then some more."""
    first, until = used // ROWS, time.monotonic() + ROOM_S_MAX
    while post(server, first)[0] != 200:
        if time.monotonic() > until:
            raise Defect(f"{ROOM_S_MAX} s after there is room again, events are still refused:\n{server.said()}")
        time.sleep(0.1)
    for number in range(first + 1, first + 20):
        status, answer = post(server, number)
        findings.claim(status == 200, f"after there is room again, a batch was answered with {status}: {answer}")
    return (first + 20) * ROWS
