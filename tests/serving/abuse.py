"""What clients must not be able to do: `asof run` under idle, slow, greedy and senseless connections.

    target/venv/bin/python tests/serving/abuse.py --asof target/release/asof [--seed N] [--idle 10000]

| Check | Clients | Holds |
|---|---|---|
| idle | 10,000 connections that ask nothing | reads go on as fast, memory stays small, they are closed after idle_timeout |
| slow | heads and bodies that arrive byte by byte | cut off after request_timeout |
| oversized | bodies beyond body_max, declared and chunked | 413, closed, little memory |
| unread | answers that nobody takes | cut off, memory given back |
| fuzz | mutated bodies, paths and query strings; bytes that are no HTTP | an answer of the contract or a closed connection |

Behind every check the server still answers right. Everything is on the loopback interface and bounded in count and time.
"""

import argparse
import http.client
import json
import os
import random
import re
import resource
import selectors
import socket
import sys
import time

from running_server import Defect, Server

PROJECT, VIEW = "examples/fraud", "account_activity"
REQUEST_TIMEOUT_S, IDLE_TIMEOUT_S = 2, 8
STATUSES = {200, 400, 404, 413, 422, 429, 503}
IDLE_BYTES_MAX = 24 << 10  # of one idle connection: its read buffer and its task
SLOW_CLIENTS = 300
READ_P99_S_MAX = 0.020  # of reads one after the other, on a machine that may be busy
MEMORY_BYTES_MAX = 300 << 20  # beyond what the server took before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", default="target/release/asof")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections")
    parser.add_argument("--fuzz", type=int, default=4_000, help="fuzzed requests")
    options = parser.parse_args()
    raise_descriptor_limit(options.idle + 1_000)
    os.environ["ASOF_SERVER__REQUEST_TIMEOUT"] = f"{REQUEST_TIMEOUT_S}s"
    os.environ["ASOF_SERVER__IDLE_TIMEOUT"] = f"{IDLE_TIMEOUT_S}s"
    os.environ["ASOF_SERVER__BODY_MAX"] = "1MiB"
    os.environ["ASOF_LOG"] = "error"
    print(f"seed {options.seed}")
    passed = 0
    try:
        for check in (idle, slow, oversized, unread, fuzz):
            with Server(options.asof, PROJECT) as server:
                began = time.monotonic()
                told = check(Client(server), options)
                passed += 1
                print(f"{check.__name__}: {told} ({time.monotonic() - began:.1f} s)", flush=True)
    except Defect as defect:
        print(f"DEFECT: {defect}")
    print(f"{passed} of 5 checks passed")
    sys.exit(passed != 5)


def raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"{wanted} descriptors are needed, the limit is {hard}: raise it with `ulimit -Hn {wanted}`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


class Client:
    """What the checks do with a server."""

    def __init__(self, server):
        self.server = server
        example = server.described(VIEW)["example_key"]
        self.body = json.dumps({"rows": [example]}).encode()
        self.expected = self.read()
        self.memory_before = self.memory()

    def read(self):
        status, text = self.server.call("POST", f"/v1/views/{VIEW}/features", self.body)
        if status != 200:
            raise Defect(f"a plain read is answered with {status}: {text}")
        return text

    def check_alive(self):
        if self.read() != self.expected:
            raise Defect("a plain read is answered otherwise than before")

    def open(self, blocking=True):
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=30)
        connection.setblocking(blocking)
        return connection

    def memory(self):
        with open(f"/proc/{self.server.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024

    def check_memory(self):
        grown = self.memory() - self.memory_before
        if grown > MEMORY_BYTES_MAX:
            raise Defect(f"the server grew by {grown >> 20} MiB")
        return grown

    def connections(self):
        status, text = self.server.call("GET", "/metrics")
        return int(float(re.search(r"^asof_connections (\S+)", text, re.M)[1])) if status == 200 else None

    def latencies(self, count):
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            self.check_alive()
            taken.append(time.perf_counter() - began)
        return sorted(taken)


def idle(client, options):
    before = client.latencies(1_000)
    opened = []
    for _ in range(options.idle):
        opened.append(client.open())
    until(lambda: client.connections() >= options.idle, 10, "the server to hold all idle connections")
    held = client.memory() - client.memory_before
    beside = client.latencies(1_000)
    if held > options.idle * IDLE_BYTES_MAX:
        raise Defect(f"{options.idle} idle connections take {held >> 20} MiB")
    if beside[990] > READ_P99_S_MAX:
        raise Defect(f"reads beside idle connections: p99 {beside[990] * 1e3:.1f} ms, alone {before[990] * 1e3:.1f} ms")
    until(lambda: client.connections() <= 1, IDLE_TIMEOUT_S + 10, "the server to close idle connections")
    if any(connection.recv(1) for connection in opened[:100]):
        raise Defect("something was said to a connection that asked nothing")
    for connection in opened:
        connection.close()
    return (
        f"{options.idle} connections, {held / options.idle / 1024:.1f} KiB each, closed by the server; reads p50, p99 "
        f"{before[500] * 1e3:.2f}, {before[990] * 1e3:.2f} ms alone, {beside[500] * 1e3:.2f}, {beside[990] * 1e3:.2f} ms beside"
    )


def slow(client, options):
    head = b"POST /v1/views/%s/features HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n" % VIEW.encode()
    heads = [client.open() for _ in range(SLOW_CLIENTS)]
    bodies = [client.open() for _ in range(SLOW_CLIENTS)]
    for connection in bodies:
        connection.sendall(head)
    open_ones, began, place = {*heads, *bodies}, time.monotonic(), 0
    while open_ones and time.monotonic() - began < 3 * REQUEST_TIMEOUT_S:
        for connection in list(open_ones):
            text = head if connection in heads else b"{" * 4000
            if not trickles(connection, text[place:place + 1]):
                open_ones.discard(connection)
        client.check_alive()
        place += 1
        time.sleep(0.2)
    if open_ones:
        raise Defect(f"{len(open_ones)} of {2 * SLOW_CLIENTS} slow clients are still connected")
    lasted = time.monotonic() - began
    if lasted < REQUEST_TIMEOUT_S * 0.8:
        raise Defect(f"clients were cut off after {lasted:.1f} s already")
    client.check_memory()
    return f"{2 * SLOW_CLIENTS} slow clients cut off after {lasted:.1f} s, request_timeout is {REQUEST_TIMEOUT_S} s"


def trickles(connection, byte):
    """Whether the connection still takes a byte."""
    try:
        connection.setblocking(False)
        try:
            if connection.recv(4096) == b"":
                return False
        except BlockingIOError:
            pass
        connection.send(byte)
        return True
    except OSError:
        return False


def oversized(client, options):
    answered = 0
    for turn in range(20):
        connection = client.open()
        head = f"POST /v1/views/{VIEW}/features HTTP/1.1\r\nHost: x\r\n"
        if turn % 2:
            connection.sendall((head + f"Content-Length: {1 << 34}\r\n\r\n").encode())
        else:
            connection.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
            send_until_closed(connection, b"10000\r\n" + b"7" * 0x10000 + b"\r\n", 200)
        answer = receive(connection, 5)
        # A client that went on sending may see its connection reset before it reads the answer.
        if turn % 2 and not answer.startswith(b"HTTP/1.1 413"):
            raise Defect(f"a body of 16 GiB was answered with {answer[:80]!r}")
        answered += answer.startswith(b"HTTP/1.1 413")
        connection.close()
    client.check_alive()
    return f"20 bodies refused, {answered} read their 413; the server grew by {client.check_memory() >> 20} MiB"


def send_until_closed(connection, chunk, count):
    try:
        for _ in range(count):
            connection.sendall(chunk)
    except OSError:
        return


def receive(connection, seconds):
    connection.settimeout(seconds)
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except OSError:
        pass
    return received


def unread(client, options):
    rows = json.dumps({"rows": json.loads(client.body)["rows"] * 10_000}).encode()
    request = b"POST /v1/views/%s/features HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (VIEW.encode(), len(rows))
    connections = [client.open() for _ in range(100)]
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request + rows)
    grown_most = 0
    deadline = time.monotonic() + 4 * REQUEST_TIMEOUT_S + 10
    while client.connections() > 1 and time.monotonic() < deadline:
        grown_most = max(grown_most, client.memory() - client.memory_before)
        client.check_alive()
        time.sleep(0.2)
    if client.connections() > 1:
        raise Defect(f"{client.connections() - 1} of 100 clients that do not read are still connected")
    for connection in connections:
        connection.close()
    return f"100 clients that do not read cut off; the server grew by {grown_most >> 20} MiB at most"


def fuzz(client, options):
    chance = random.Random(options.seed)
    statuses = {}
    for _ in range(options.fuzz):
        method, path, body = fuzzed(chance, client.body)
        status = ask(client, method, path, body)
        statuses[status] = statuses.get(status, 0) + 1
        if status not in STATUSES:
            raise Defect(f"{method} {path!r} {body[:300]!r} was answered with {status}")
    for _ in range(options.fuzz // 10):
        connection = client.open()
        send_until_closed(connection, chance.randbytes(chance.randint(1, 3_000)), 1)
        connection.shutdown(socket.SHUT_WR)
        answer = receive(connection, 2 * REQUEST_TIMEOUT_S)
        connection.close()
        if answer and not re.match(rb"HTTP/1\.1 (400|404|413|431) ", answer):
            raise Defect(f"bytes that are no HTTP were answered with {answer[:80]!r}")
    client.check_alive()
    told = client.server.stderr()
    if "panic" in told:
        raise Defect(f"the server panicked:\n{told[-2000:]}")
    counts = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
    return f"{counts}; the server grew by {client.check_memory() >> 20} MiB"


SCRAPS = [
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"true", b"-", b"1e999", b"1" * 400, b"\\u0000", b"\\ud800", b"\xff\xfe",
    b"NaN", b'"rows"', b'"as_of"', b"[" * 5_000, b'{"a":' * 3_000, b'"as_of":"0001-01-01"', b'"as_of":9223372036854775807',
    b'"as_of":-9223372036854775808', b'"as_of":"2026-13-45T99:99:99Z"', b" " * 1_000, b'"' + b"x" * 20_000 + b'"',
]
PATHS = [
    "/v1/views/{}/features", "/v1/services/{}/features", "/v1/objects/{}", "/v1/objects", "/{}", "/readyz", "/metrics",
    "/v1/views/%s/features?{{}}" % VIEW, "/openapi.json?{}", "/v1/objects?{}", "/..{}/etc",
]


def fuzzed(chance, body):
    method = chance.choice(["POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
    path = f"/v1/views/{VIEW}/features" if chance.random() < 0.5 else chance.choice(PATHS).format(odd_text(chance))
    mutated = bytearray(body)
    for _ in range(chance.choice([0, 1, 1, 2, 5, 20])):
        at = chance.randint(0, len(mutated))
        match chance.randint(0, 3):
            case 0:
                mutated[at:at] = chance.choice(SCRAPS)
            case 1:
                del mutated[at:at + chance.randint(1, 8)]
            case 2:
                mutated[at:at + 1] = chance.randbytes(1)
            case _:
                mutated[at:at] = mutated[max(0, at - 20):at]
    return method, path, bytes(mutated)


def odd_text(chance):
    letters = "abz09_-.~%/?&=#;:@!$'()*+,[]"
    return "".join(chance.choice(letters) for _ in range(chance.choice([0, 1, 5, 40, 3_000]))).replace(" ", "")


def ask(client, method, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=False)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body)
        return connection.getresponse().status
    except http.client.InvalidURL:
        return 404
    finally:
        connection.close()


def until(happened, seconds, what):
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise Defect(f"{what} was waited for {seconds} s")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
