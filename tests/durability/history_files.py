"""The Parquet files of a stream's history, read by DuckDB as anyone would read them: the used events, each once, as sent.

    <data>/history/<stream>/<partition>/<first offset>-<end offset>.parquet

The server is killed once more and started: its log then ends with a sealed segment, so that soon all of it is Parquet. What is
in the files is held against what the clients were answered and what they had sent; neither the server nor `asof history` is asked.
"""

import re
import time

import live_project
from running_server import Defect

WAIT_S_MAX = 60
POLL_S = 0.05
NAME = re.compile(r"(\d{20})-(\d{20})\.parquet")
QUERY = """
SELECT _partition, _offset, epoch_us(_arrived), filename, client, number, {columns}
FROM read_parquet(?, filename = true) ORDER BY _offset
"""


def check(server, ledger, findings):
    """Gives how many events the files hold, by stream."""
    server.kill()
    server.restart()
    counts = {}
    for stream in live_project.WHOLE:
        files = all_files(server, stream)
        rows = read(files.values(), live_project.SENT[stream])
        check_places(stream, rows, files, findings)
        ledger.check_log(stream, [tuple(row[4:6]) for row in rows], findings)
        check_values(stream, rows, ledger.sent(stream), findings)
        used = server.counts(stream)["used"]
        findings.claim(len(rows) == used, f"{stream}: DuckDB reads {len(rows)} events, the server counts {used} used")
        counts[stream] = len(rows)
    return counts


def all_files(server, stream):
    """The files by their offsets, once they cover all rows that the stream has."""
    end, until = server.counts(stream)["in"], time.monotonic() + WAIT_S_MAX
    folder = server.data / "history" / stream / "0"
    while True:
        names = sorted(path for path in folder.glob("*") if NAME.fullmatch(path.name)) if folder.is_dir() else []
        files = {tuple(int(digits) for digits in NAME.fullmatch(path.name).groups()): path for path in names}
        reached = 0
        for first, behind in files:
            if first == reached:
                reached = behind
        if reached == end:
            return files
        if time.monotonic() > until:
            raise Defect(f"the files of {stream} reach offset {reached} of {end} after {WAIT_S_MAX} s:\n{server.said()}")
        time.sleep(POLL_S)


def read(paths, columns):
    import duckdb

    with duckdb.connect() as connection:
        query = QUERY.format(columns=", ".join(columns.values()))
        return connection.execute(query, [[str(path) for path in paths]]).fetchall()


def check_places(stream, rows, files, findings):
    """Files follow each other without a gap; each event lies in the file whose name has its offset, and no offset comes twice."""
    ranges = list(files)
    gaps = [pair for pair in zip(ranges, ranges[1:]) if pair[0][1] != pair[1][0]]
    findings.claim(not gaps, f"{stream}: history files do not follow each other: {gaps[:3]}")
    of_file = {str(path): offsets for offsets, path in files.items()}
    before = -1
    for partition, offset, arrived_us, filename, *_ in rows:
        first, behind = of_file[filename]
        is_placed = partition == 0 and before < offset and first <= offset < behind and arrived_us is not None
        findings.claim(is_placed, f"{stream}: an event at {partition}:{offset} behind {before} in {filename}, arrived {arrived_us}")
        before = offset


def check_values(stream, rows, sent, findings):
    """Each event has the values with which it was sent; a repeat may have been sent with others."""
    for row in rows:
        event, values = tuple(row[4:6]), tuple(row[6:])
        findings.values += len(values)
        if values not in sent[event]:
            findings.tell(f"{stream}: DuckDB reads {event} as {values}, sent was {sent[event]}")
