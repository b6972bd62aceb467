"""A real server and real kills: what was acknowledged is there, once, whatever happens to the process, the disk or the files.

    target/venv/bin/python tests/durability/kill.py                        20 kills, then everything else
    target/venv/bin/python tests/durability/kill.py --rounds 200 --seed 7 --only kills

| Part | What is done | What must hold |
|---|---|---|
| kills | six clients post and retry; SIGKILL at all moments (moments.py) | what was acknowledged is counted once, nothing else is; values equal those of an uncrashed server and of history; DuckDB reads the same events from `history/` (history_files.py) |
| idempotent | one batch sent hundreds of times with one Idempotency-Key, over a kill | it counts once |
| disk | a small disk fills up (disk_full.py) | 503 that says so, reads go on, ingestion too when there is room again |
| flips | one bit of one file turned, in each kind of file (flipped_bytes.py) | it is named, or changes nothing |
| writers | a second server on the folder, then one with --take-over (two_writers.py) | refused; the old one is fenced |

Needs the binary, the packages of tests/requirements.txt (`scripts/test` puts them into target/venv), and for `disk` the right
to mount a tmpfs. Exit 1 on any difference.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(REPOSITORY / "tests" / "serving"))  # findings.py, running_server.py

import disk_full
import flipped_bytes
import history_files
import live_project
import same_answers
import two_writers
from findings import Findings
from ledger import Ledger
from live_server import LiveServer
from moments import MOMENTS
from producers import CLIENTS, Producers
from running_server import Defect

# Small, so that a second of load has several of each.
SETTINGS = {"ASOF_CHECKPOINT__INTERVAL": "200ms", "ASOF_STORAGE__SEGMENT_SIZE": "256KiB"}
SENT_AGAIN = 500


def main():
    options = arguments()
    # A test run that is given up still stops its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    print(f"seed {options.seed}", flush=True)
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="asof-kill-") as work:
        for part in options.only or PARTS:
            began, before = time.monotonic(), findings.claims + findings.values
            folder = Path(work) / part
            folder.mkdir()
            try:
                told = PARTS[part](options, folder, findings)
                print(f"{part}: {told} ({time.monotonic() - began:.1f} s)", flush=True)
            except Defect as defect:
                findings.tell(f"{part}: {defect}")
            if findings.claims + findings.values == before:
                findings.tell(f"{part}: nothing was checked")
    print(f"\n{findings.values:,} values compared, {findings.claims:,} claims checked, {findings.wrong:,} differences "
          f"(seed {options.seed})")
    sys.exit(1 if findings.wrong else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    parser.add_argument("--rounds", type=int, default=20, help="kills")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--only", action="append", choices=PARTS, help="default: all parts")
    options = parser.parse_args()
    options.asof = options.asof.resolve()
    if not options.asof.exists():
        sys.exit(f"no asof at {options.asof}: build it with `cargo build --release`, or name it with --asof")
    try:
        import duckdb  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        sys.exit(f"{error}: run it with target/venv/bin/python, which `scripts/test` makes")
    return options


def kills(options, work, findings):
    """The rounds, then the three ways to the same values."""
    chance, ledger = random.Random(f"{options.seed} kills"), Ledger()
    names = list(MOMENTS)
    with LiveServer(options.asof, live_project.write(work / "killed"), settings=SETTINGS) as server:
        with Producers(server, ledger, options.seed) as producers:
            for number in range(options.rounds):
                MOMENTS[names[number % len(names)]](server, chance)
                acknowledged = ledger.acknowledged()
                server.restart()
                producers.check()
                check_counts(server, acknowledged, number, findings)
        return judged(server, ledger, work, findings, options.rounds)


def check_counts(server, acknowledged, number, findings):
    """Right behind a restart: no client has fewer events than were acknowledged, and none has one twice."""
    for stream, (view, _) in live_project.WHOLE.items():
        answer = server.ask("view", view, [{"client": client} for client in range(len(CLIENTS))])
        for client, (events, numbers, _) in enumerate(answer["rows"]):
            least = acknowledged.get(stream, {}).get(client, 0)
            where = f"round {number}: client {client} of {stream}"
            findings.claim(int(events[1:]) >= least, f"{where}: {least} events were acknowledged, {events[1:]} are there")
            findings.claim(events == numbers, f"{where}: {events[1:]} events of {numbers[1:]} numbers")


def judged(server, ledger, work, findings, rounds):
    """Everything was posted: the log against the ledger, the values against those of others."""
    ledger.check_answers(findings)
    _, _, logged = same_answers.check(server, work, findings)
    for stream, lines in logged.items():
        ledger.check_log(stream, same_answers.names(lines), findings)
        check_accounts(server, stream, len(lines), ledger, findings)
    read = history_files.check(server, ledger, findings)
    return f"{rounds} kills, {ledger.events():,} events posted, {ledger.retries:,} retries, used and read by DuckDB {read}"


def check_accounts(server, stream, used, ledger, findings):
    """In = used + late + duplicate + rejected, and `used` is what the log holds; without a key the answers say the same."""
    counts = server.counts(stream)
    total = counts["used"] + counts["late"] + counts["duplicate"] + sum_of(counts["rejected"])
    findings.claim(counts["in"] == total, f"{stream}: the accounts do not add up: {counts}")
    findings.claim(counts["used"] == used, f"{stream}: {counts['used']} used, the log holds {used}")
    told = ledger.counts(stream)
    if stream == "transfers":
        found = (counts["used"], counts["late"], sum_of(counts["rejected"]))
        expected = (told["accepted"], told["late"], told["rejected"])
        findings.claim(found == expected, f"{stream}: used, late, rejected are {found}, the answers say {expected}")


def sum_of(rejected):
    return sum(rejected.values()) if isinstance(rejected, dict) else rejected


def idempotent(options, work, findings):
    """One batch, again and again, over a kill and an orderly restart; the same key for other events is refused."""
    event = '{"client":0,"number":%d,"account_id":1,"amount":"2.50","ts":%d}'
    now = same_answers.now_us()
    body = "\n".join(event % (number, now) for number in range(3))
    answers = set()
    with LiveServer(options.asof, live_project.write(work / "again"), settings=SETTINGS) as server:
        for turn in range(SENT_AGAIN):
            status, answer = server.post("transfers", body, key="one")
            answers.add((status, answer["accepted"], answer["duplicates"]))
            if turn in (SENT_AGAIN // 3, SENT_AGAIN // 2):
                (server.kill if turn < SENT_AGAIN // 2 else server.stop)()
                server.restart()
        findings.claim(answers == {(200, 3, 0)}, f"one batch, sent {SENT_AGAIN} times, was answered with {answers}")
        row = server.ask("view", "client_transfers", [{"client": 0}])["rows"][0]
        findings.claim(row == ["#3", "#3", "#3"], f"one batch, sent {SENT_AGAIN} times, counts as {row}")
        status, answer = server.post("transfers", event % (9, now), key="one")
        findings.claim(400 <= status < 500, f"another batch with the same Idempotency-Key was answered with {status}: {answer}")
    return f"one batch sent {SENT_AGAIN} times"


PARTS = {
    "kills": kills, "idempotent": idempotent, "disk": disk_full.check, "flips": flipped_bytes.check,
    "writers": two_writers.check,
}

if __name__ == "__main__":
    main()
