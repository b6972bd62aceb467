"""docs/reference/http.md against a running server: neither may gain a call, a metric, a limit or a value without the other.

    target/venv/bin/python tests/docs/check_http.py [--asof target/release/asof]

- Every console block is run (see console.py), against `asof run examples/flights` up to a fixed instant, or against the small
  live project that the page writes.
- The table of calls is that of /openapi.json, of both; the document itself is valid OpenAPI, and answers to its own examples,
  and an error, are as its schemas say.
- The tables of metrics have the names, types and labels of /metrics, the first one without what is stored; the table of limits
  has the keys that the program knows.
- Each value of the table of values, sent in a request, is answered as the table says.

Two words of this page: after `<!-- crowded -->` other clients hold as much memory in bodies as there may be; after
`<!-- waiting -->` the server is one that has not taken in its files yet.
"""

import json
import re
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from console import REPOSITORY, Command, Session, binary, finish, steps
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

PAGE = "docs/reference/http.md"
# Fewer, and a fence was renamed so that nothing is compared.
COMMANDS_MIN = 34
FLIGHTS = "asof run examples/flights --until 2013-07-01T00:00:00Z"
STARTED = ["…", "try:", "…"]
# The page has written and filled it.
LIVE = "asof run cards"
ONE_EVENT = {"payment_id": "after the page", "card": "red", "amount": 1, "ts": "2026-03-01T12:02:00Z"}
# Bodies of more than 16 KiB may take 32 times the greatest one together, 32 KiB on the page: this leaves room for 32 bytes.
CROWD, CROWD_BODY_BYTES = 32, 32 << 10
WAIT_S = 10


def main():
    asof = binary(__doc__)
    page = (REPOSITORY / PAGE).read_text()
    with tempfile.TemporaryDirectory(prefix="asof-docs-") as folder:
        (Path(folder) / "examples").symlink_to(REPOSITORY / "examples")
        session = Session(folder, asof)
        try:
            run_page(session, page)
            session.begin_server(Command(FLIGHTS, STARTED), PAGE)
            offered = check_document(session)
            of_files = metrics(session)
            session.begin_server(Command(LIVE, STARTED), PAGE)
            offered |= check_document(session)
            check_calls(session, page, offered)
            check_metrics(session, page, of_files)
            check_limits(session, page)
            check_values(session, page)
        finally:
            session.stop_server(PAGE)
    if session.compared < COMMANDS_MIN:
        session.failures.append(f"only {session.compared} commands were found, at least {COMMANDS_MIN} are expected")
    finish(session.failures, f"{PAGE}: {session.compared} comparisons")


# ------------------------------------------------------------------------------------------------------------- examples


def run_page(session, page):
    crowd = []
    for word, argument in steps(page):
        if word == "crowded":
            crowd = [held_body(session.port) for _ in range(CROWD)]
            one_more = " " * 20_000 + json.dumps({"rows": []})
            wait_for(session, "/v1/views/origin_weather/features", one_more, "take too much memory")
        elif word == "waiting":
            write_waiting(session)
            session.begin_server(Command("asof run waiting", ["…", "listening on …", "…"]), PAGE)
            wait_for(session, "/readyz", None, "2 rows taken in")
        elif word == "file":
            session.write(*argument)
        elif word == "console":
            for command in argument:
                session.run(command, PAGE)
            while crowd:
                crowd.pop().close()
        else:
            raise ValueError(f"{PAGE}: `<!-- {word} -->` means nothing here")


def held_body(port):
    """A connection that has sent all of a body but its last byte."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    head = f"POST /v1/views/origin_weather/features HTTP/1.1\r\nhost: a\r\ncontent-length: {CROWD_BODY_BYTES}\r\n\r\n"
    connection.sendall(head.encode() + b" " * (CROWD_BODY_BYTES - 1))
    return connection


def wait_for(session, path, body, words):
    """Asks until the answer has these words."""
    until = time.monotonic() + WAIT_S
    while words not in (answer := fetch(session, path, body)):
        if time.monotonic() > until:
            raise TimeoutError(f"{path} does not answer `{words}`: {answer}")
        time.sleep(0.02)


def write_waiting(session):
    """A project that is never ready: one stream is as fast as can be, the other takes hours, and both have to end."""
    stream = (
        "CREATE STREAM {name} (k VARCHAR NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)\n"
        "WITH (connector = 'file', path = 'payments.csv', rate = '{rate}');\n"
    )
    # Of equal event times the first stream goes first, so that the slow one does not hold it back.
    fast, slow = stream.format(name="payments", rate="max"), stream.format(name="refunds", rate="0.0001/s")
    session.write("waiting/features.sql", fast + slow)
    session.write("waiting/payments.csv", "k,ts\na,2026-03-01T12:00:00Z\nb,2026-03-01T12:00:01Z\n")


# ---------------------------------------------------------------------------------------------------------------- calls


def check_calls(session, page, offered):
    """The table of calls."""
    same(session, "calls", {tuple(call.split()) for call in cells(page, "| Call |", 0)}, offered)


def check_document(session):
    """/openapi.json, and answers to its examples against its schemas. Gives the calls, with the names in their paths left out."""
    document = json.loads(fetch(session, "/openapi.json"))
    validate(document)
    reads = {path: item["post"] for path, item in document["paths"].items() if path.endswith("/features")}
    for path, operation in reads.items():
        example = operation["requestBody"]["content"]["application/json"]["example"]
        check_answer(session, document, operation, path, example, "200")
    path = next(iter(reads))
    check_answer(session, document, reads[path], path, {"row": []}, "default")
    return {
        (method.upper(), re.sub(r"^/v1/(service|view|stream)s/[^/]+/", r"/v1/\1s/{\1}/", path))
        for path, item in document["paths"].items() for method in item
    }


def check_answer(session, document, operation, path, body, response):
    schema = operation["responses"][response]["content"]["application/json"]["schema"]
    answer = json.loads(fetch(session, path, json.dumps(body)))
    validator = Draft202012Validator({**schema, "components": document["components"]})
    session.compared += 1
    for error in validator.iter_errors(answer):
        session.failures.append(f"{path}: the answer is not as /openapi.json says: {error.message}")
    if response == "200" and not answer.get("rows"):
        session.failures.append(f"{path}: its example is not answered: {answer}")


# -------------------------------------------------------------------------------------------------------------- metrics


def check_metrics(session, page, of_files):
    """Names, types and labels: all of them of a live project, those of the first table of one that reads files."""
    fetch(session, "/v1/streams/payments/events", json.dumps(ONE_EVENT))
    every, stored = ({described(*row) for row in told(page, head)} for head in ("| Metric |", "| Metric of what is stored |"))
    of_live = metrics(session)
    write_derived(session)
    session.begin_server(Command("asof run derived", STARTED), PAGE)
    same(session, "metrics", every | stored, of_live | metrics(session))
    same(session, "metrics without a data folder", every & of_files, of_files)


def write_derived(session):
    """A project with a table and derived streams, one of them over a group window: the one of the page has none of these."""
    session.write("derived/one.csv", "k,ts\na,2026-03-01T12:00:00Z\n")
    session.write("derived/two.csv", "k,v,since\na,1,2026-03-01T11:00:00Z\n")
    session.write(
        "derived/features.sql",
        "CREATE STREAM s (k VARCHAR NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)\n"
        "WITH (connector = 'file', path = 'one.csv');\n"
        "CREATE TABLE t (k VARCHAR PRIMARY KEY, v BIGINT, since TIMESTAMP, WATERMARK FOR since AS since)\n"
        "WITH (connector = 'file', path = 'two.csv');\n"
        "CREATE STREAM d AS SELECT s.k, t.v, s.ts FROM s LEFT JOIN t FOR SYSTEM_TIME AS OF s.ts AS t ON t.k = s.k;\n"
        "CREATE STREAM w AS SELECT k, count(*) AS n FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE))\n"
        "GROUP BY k, window_start, window_end;\n",
    )


def told(page, head):
    return [(code(row[0])[0], row[1], code(row[2])) for row in rows(page, head)]


def metrics(session):
    """What /metrics has, each described."""
    found = {}
    for line in fetch(session, "/metrics").splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found[name] = (kind, set())
        elif line and not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            owner = found[name if name in found else base]
            owner[1].update(set(re.findall(r'(\w+)="', labels or "")) - {"le"})
    return {described(name, kind, labels) for name, (kind, labels) in found.items()}


def described(name, kind, labels):
    return f"{kind} {name}{{{', '.join(sorted(labels))}}}"


# --------------------------------------------------------------------------------------------------------------- limits


def check_limits(session, page):
    """The keys of [server], as the program lists them when it meets one that it does not know."""
    session.write("limits/features.sql", "")
    session.write("limits/asof.toml", "[server]\nxyzzyxyzzyxyzzy = 1\n")
    ran = subprocess.run(
        ["asof", "run", "limits"], cwd=session.folder, env=session.environment, capture_output=True, text=True
    )
    known = re.search(r"its keys are (.*)", ran.stderr)
    if not known:
        session.failures.append(f"an unknown key of [server] is not answered with the known ones:\n{ran.stderr}")
        return
    same(session, "keys of [server]", set(cells(page, "| Key |", 0)), set(code(known[1])))


# --------------------------------------------------------------------------------------------------------------- values


def check_values(session, page):
    """Sends each value of the table through a service that gives it back."""
    values = [(row[0], code(row[1])[0], code(row[2])[0]) for row in rows(page, "| Type |")]
    types = [name if name != "any" else "BIGINT" for name, _, _ in values]
    columns = ", ".join(f"c{place} {name}" for place, name in enumerate(types))
    features = ", ".join(f"r.c{place} AS c{place}" for place in range(len(types)))
    session.write("values/one.csv", "k,ts\na,2026-03-01T12:00:00Z\n")
    session.write(
        "values/features.sql",
        "CREATE STREAM s (k VARCHAR NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)\n"
        "WITH (connector = 'file', path = 'one.csv');\n"
        "CREATE FEATURE VIEW v AS SELECT k, count(*) OVER w AS n FROM s WINDOW w AS (PARTITION BY k ORDER BY ts);\n"
        f"CREATE FEATURE SERVICE given AS SELECT {features} FROM REQUEST (k VARCHAR, {columns}) AS r\n"
        "LEFT JOIN v ON v.k = r.k;\n",
    )
    session.begin_server(Command("asof run values", STARTED), PAGE)
    row = ",".join(f'"c{place}":{sent}' for place, (_, sent, _) in enumerate(values))
    answer = fetch(session, "/v1/services/given/features", f'{{"rows":[{{"k":"a",{row}}}]}}')
    expected = '"rows":[[' + ",".join(answered for _, _, answered in values) + "]]"
    session.compared += len(values)
    if expected not in answer:
        session.failures.append(f"the table of values says\n    {expected}\nand the server\n    {answer}")


# ---------------------------------------------------------------------------------------------------------------- page


def rows(page, head):
    """The cells of the table that begins with that head, without the head."""
    start = page.index(f"\n{head}")
    table = page[start + 1 :].split("\n\n")[0].split("\n<!--")[0].split("\n")[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def cells(page, head, column):
    return [code(row[column])[0] for row in rows(page, head)]


def code(text):
    return re.findall(r"`([^`]+)`", text)


def same(session, what, told, found):
    session.compared += 1
    for word in sorted(told - found):
        session.failures.append(f"{what}: the page has {word}, the program does not")
    for word in sorted(found - told):
        session.failures.append(f"{what}: the program has {word}, the page does not")


def fetch(session, path, body=None):
    """The answer's text, whatever its status."""
    request = urllib.request.Request(f"http://127.0.0.1:{session.port}{path}", data=body.encode() if body else None)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), AnyStatus())
    with opener.open(request, timeout=10) as answer:
        return answer.read().decode()


class AnyStatus(urllib.request.HTTPErrorProcessor):
    def http_response(self, _request, response):
        return response


if __name__ == "__main__":
    main()
