"""One bit of one file turned, in each kind of file of a data folder: it is named, or it changes nothing.

A folder is filled under load and stopped well. Then, for each kind of file and several seeded bits, on a copy:

    flip ─▶ `asof history` over it, and a server started on it ─▶ the file is named by one of them (stderr),
                                                                 or all values of both are those of before

Segments are looked at without the checkpoints and the Parquet files, so that they have to be read. Primary keys are read when
an event is judged: every payment is sent once more, and is a duplicate, or refused with the name of the file. Padding, and the
room beyond what a file holds, may be turned unnoticed; of each kind in `MUST_BE_NAMED` at least one flip must have been noticed.
"""

import json
import random
import shutil
import time

import live_project
import same_answers
from ledger import Ledger
from live_server import LiveServer
from producers import Producers
from running_server import Defect

LOAD_S = 3
FLIPS = 6  # of each kind
SETTINGS = {"ASOF_CHECKPOINT__INTERVAL": "500ms", "ASOF_STORAGE__SEGMENT_SIZE": "64KiB"}
# `lock` is empty, and of `durable` a wrong one counts as none.
MUST_BE_NAMED = {"generation", "key-secret", "keys", "segment", "parquet", "part", "json"}
REPEATED = "payments"  # the stream with a PRIMARY KEY


def check(options, work, findings):
    chance = random.Random(f"{options.seed} flips")
    whole = filled(options, work, findings)
    server = whole[0]
    kinds = of_kinds(server.data)
    check_untouched(whole, kinds, work, findings)
    findings.claim(MUST_BE_NAMED <= set(kinds), f"a data folder has {sorted(kinds)}, expected {sorted(MUST_BE_NAMED)}")
    told = []
    for kind, paths in sorted(kinds.items()):
        # Of manifests only the newest is read as long as it is whole.
        paths = paths[-1:] if kind == "json" else paths
        named = sum(flip_one(whole, chance.choice(paths), kind, chance, work, findings) for _ in range(FLIPS))
        findings.claim(named > 0 or kind not in MUST_BE_NAMED, f"of {FLIPS} flipped bits in files of kind `{kind}` none was noticed")
        told.append(f"{kind} {named}/{FLIPS}")
    return f"noticed and named: {', '.join(told)}"


def filled(options, work, findings):
    """A server that was stopped, what it answered, as of when, and the payments that it took in, as a body."""
    server = LiveServer(options.asof, live_project.write(work / "whole"), settings=SETTINGS)
    with server:
        with Producers(server, Ledger(), options.seed):
            time.sleep(LOAD_S)
        as_of_us = same_answers.now_us()
        answers = same_answers.asked(server, as_of_us)
        used = same_answers.used_events(server, REPEATED, work)
    return server, answers, as_of_us, "\n".join(line for _, line in used).encode()


def of_kinds(data):
    """Files that are not empty, by the ending of their names, or by their names."""
    kinds = {}
    for path in sorted(data.rglob("*")):
        if path.is_file() and path.stat().st_size:
            kinds.setdefault(path.suffix.lstrip(".") or path.name, []).append(path.relative_to(data))
    return kinds


def check_untouched(whole, kinds, work, findings):
    """A copy without a flip answers the same, and no file of it is named: so a name below means that a flip was noticed."""
    server = whole[0]
    copy = LiveServer(server.asof, live_project.write(work / "copy"), settings=SETTINGS)
    shutil.copytree(server.data, copy.data)
    said, wrong = looked_at(copy, whole, work)
    named = [str(path) for paths in kinds.values() for path in paths if f"/{path.name}" in said]
    findings.claim(not wrong and not named, f"an untouched copy: {wrong}; it names {named}")


def flip_one(whole, path, kind, chance, work, findings):
    """Whether the flip was noticed; tells of one that was not and changed something."""
    server = whole[0]
    folder = live_project.write(work / "flipped")
    shutil.copytree(server.data, folder / ".asof")
    if kind == "segment":
        for forgotten in ("checkpoints", "history"):
            shutil.rmtree(folder / ".asof" / forgotten)
    at = flip(folder / ".asof" / path, chance)
    flipped = LiveServer(server.asof, folder, settings=SETTINGS)
    said, wrong = looked_at(flipped, whole, work)
    shutil.rmtree(folder)
    is_named = f"/{path.name}" in said
    findings.claim(is_named or not wrong, f"bit {at} of {path} flipped: it is not named, and {wrong}")
    return is_named


def flip(path, chance):
    bytes_ = bytearray(path.read_bytes())
    bit = chance.randrange(len(bytes_) * 8)
    bytes_[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes_)
    return bit


def looked_at(server, whole, work):
    """What history and a server say about a folder, and what was wrong with their values, if anything."""
    _, answers, as_of_us, repeats = whole
    wrong = []
    try:
        found = same_answers.of_history(server, as_of_us, work)
        wrong += [f"history of {name} differs" for name, answer in answers.items() if found[name] != answer["rows"]]
        said = ""
    except Defect as defect:
        said = str(defect)
        wrong.append("history failed")
    try:
        with server:
            now = same_answers.asked(server, as_of_us)
            status, answer = server.post(REPEATED, repeats)
            said += json.dumps(answer)
            if status == 200 and answer["duplicates"] < len(repeats.splitlines()):
                wrong.append(f"of {len(repeats.splitlines())} repeated events {answer['duplicates']} are duplicates")
        wrong += [f"the server's {name} differs" for name, answer in answers.items() if now[name]["rows"] != answer["rows"]]
    except Defect as defect:
        wrong.append(f"the server failed: {defect}")
    return said + server.said(), wrong
