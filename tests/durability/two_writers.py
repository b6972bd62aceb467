"""Two servers on one data folder: the second is refused; with --take-over it goes on, and the first acknowledges nothing more.

        first ──acknowledges──────────────▶│ fenced: answers no post with 200, and ends
                                  second ──│──ready──acknowledges──────────▶│ fenced by a third, and so on
        clients post to the first, then to the second; each batch is repeated until one of them acknowledges it

What the old one was writing at that moment was not acknowledged, and must be either in the new one's log and values, or in
neither: several take-overs under load meet several such moments.
"""

import http.client
import subprocess
import time

import live_project
import same_answers
from ledger import Ledger
from live_server import LiveServer
from producers import Producers
from running_server import Defect

TAKE_OVERS = 6
LOAD_S = 0.7
END_S = 20


def check(options, work, findings):
    folder, ledger = live_project.write(work / "shared"), Ledger()
    servers = [LiveServer(options.asof, folder, name="writer 0")]
    try:
        servers[0].restart()
        check_refused(servers[0], findings)
        door = Door(servers[0])
        with Producers(door, ledger, options.seed):
            for _ in range(TAKE_OVERS):
                time.sleep(LOAD_S)
                servers.append(take_over(servers, door, findings))
        told = judged(servers[-1], ledger, work, findings)
        servers[-1].stop()
    finally:
        for server in servers:
            if server.process and server.process.poll() is None:
                server.kill()
    return told


def take_over(servers, door, findings):
    """The next server; producers go there from now on, and the one before is at its end."""
    old, new = servers[-1], successor(servers)
    try:
        new.start("--take-over")
        new.wait_ready()
        check_fenced(old, findings)
        door.server = new
        check_ended(old, findings)
    except BaseException:
        new.kill()
        raise
    return new


class Door:
    """Where producers post to: the server of the moment."""

    def __init__(self, server):
        self.server = server

    @property
    def port(self):
        return self.server.port

    def post(self, *arguments):
        return self.server.post(*arguments)


def successor(servers):
    """A server of the same project and folder, on a port of its own."""
    first = servers[0]
    return LiveServer(first.asof, first.folder, first.data, name=f"writer {len(servers)}")


def check_refused(first, findings):
    second = LiveServer(first.asof, first.folder, first.data, name="refused")
    second.start()
    try:
        code = second.process.wait(END_S)
    except subprocess.TimeoutExpired:
        second.kill()
        raise Defect(f"a second server on the same folder was not refused within {END_S} s")
    said = second.said()
    findings.claim(code in (1, 2), f"a second server on the same folder ended with {code}:\n{said}")
    findings.claim("--take-over" in said, f"the refusal of a second server does not name --take-over:\n{said}")
    findings.claim(first.call("GET", "/readyz")[0] == 200, "the first server suffers from the second one")


def check_fenced(first, findings):
    """From the moment that its successor is ready, nothing is acknowledged by the first."""
    row = '{"client":5,"number":999999999,"account_id":1,"amount":1,"ts":%d}'
    for _ in range(20):
        try:
            status, answer = first.post("transfers", row % same_answers.now_us())
        except (OSError, ValueError, http.client.HTTPException):
            return findings.claim(True, "")
        findings.claim(status != 200, f"the old writer still acknowledges: {answer}")


def check_ended(first, findings):
    """It ends by itself, and says why."""
    try:
        code = first.process.wait(END_S)
    except subprocess.TimeoutExpired:
        return findings.claim(False, f"the old writer still runs {END_S} s after it was taken over")
    findings.claim(code != 0, "the old writer ended with 0, as if all were well")
    findings.claim("generation" in first.said(), f"the old writer does not say why it ended:\n{first.said()}")


def judged(last, ledger, work, findings):
    ledger.check_answers(findings)
    _, _, logged = same_answers.check(last, work, findings)
    for stream, lines in logged.items():
        ledger.check_log(stream, same_answers.names(lines), findings)
    return f"taken over {TAKE_OVERS} times, {ledger.events():,} events posted, {ledger.retries:,} retries"
