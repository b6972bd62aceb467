"""Runs what a page shows, and compares what comes out with what the page says.

A page is read from top to bottom:

    <!-- file NAME -->      the next fenced block is written to that file
    ```console              lines after `$ ` are commands (`> ` goes on), the lines below are what they print
    <!-- crowded -->, …     what the script that checks the page says: also waiting, mended
    <!-- stop -->           the reader presses Ctrl-C: the server that a command began is stopped, and has to end with 0
    <!-- kill -->           `kill -9`: the server is gone at once

`…` on a page stands for any characters of a line, alone on a line for any lines. Where the shown answer begins with `{`,
spaces and line breaks between the tokens of JSON do not count, so that one long line may be broken for the reader. What a
command prints on standard error is shown too.

Commands run in one folder, in bash, with `asof` and the server's port put in: a page says 127.0.0.1:6566, a test takes any
port that is free. Whatever else a page names by an address of its own is in `elsewhere` of the session.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SHOWN_ADDRESS = "127.0.0.1:6566"
WAIT_S = 30  # for a server to print what the page says
STOP_S = 10  # for a server to end after Ctrl-C
COMMAND_S = 60
# A string of JSON, the ellipsis, or anything else without spaces.
TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|…|[^\s"…]+')
STEP = re.compile(
    r"<!-- (?P<word>file|stop|kill|crowded|waiting|mended)(?: (?P<argument>[^>]*?))? -->"
    r"|```(?P<language>\w*)\n(?P<body>.*?)\n```",
    re.S,
)


@dataclass
class Command:
    """What the reader types, and what the page says comes out."""

    text: str
    shown: list = field(default_factory=list)


def binary(description):
    """The binary that the command line of a checking script names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    asof = parser.parse_args().asof.resolve()
    if not asof.exists():
        sys.exit(f"no asof at {asof}: build it with `cargo build --release`, or name it with --asof")
    return asof


def steps(page):
    """The page as a list of (word, argument): a file with its name and text, a console with its commands."""
    name = None
    for match in STEP.finditer(page):
        if match["word"] == "file":
            name = match["argument"]
        elif match["word"]:
            yield match["word"], match["argument"] or ""
        elif name:
            yield "file", (name, match["body"] + "\n")
            name = None
        elif match["language"] == "console":
            yield "console", commands(match["body"])


def commands(block):
    """The commands of a block with the lines shown below each."""
    found = []
    for line in block.split("\n"):
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif line.startswith("> ") and found and not found[-1].shown:
            found[-1].text += "\n" + line[2:]
        elif found:
            found[-1].shown.append(line)
        else:
            raise ValueError(f"a console block begins with a command, not with {line!r}")
    return found


def agrees(shown, printed):
    """Whether the text of a page stands for what was printed."""
    shown, printed = shown.strip(), printed.strip()
    if shown.startswith("{"):
        return re.fullmatch(pattern(without_spaces(shown), ".*?"), without_spaces(printed), re.S) is not None
    printed = "".join(line.rstrip() + "\n" for line in printed.split("\n"))
    lines = (r"(?:.*\n)*?" if line == "…" else pattern(line, ".*?") + r"\n" for line in shown.split("\n"))
    return re.fullmatch("".join(lines), printed) is not None


def pattern(text, anything):
    return anything.join(re.escape(part) for part in text.split("…"))


def without_spaces(text):
    """Tokens of JSON side by side; words keep a space between them, so that `1 2` is not 12."""
    joined = ""
    for token in TOKEN.findall(text):
        joined += " " if re.search(r"[\w\"]$", joined) and re.match(r"[\w\"]", token) else ""
        joined += token
    return joined


class Session:
    """A folder, a shell for each command, and the server that the page began."""

    def __init__(self, folder, asof, elsewhere=None):
        """`elsewhere`: further addresses that the page shows, each with what stands for it here."""
        self.folder, self.port, self.server, self.said = Path(folder), free_port(), None, None
        self.elsewhere = {SHOWN_ADDRESS: f"127.0.0.1:{self.port}"} | (elsewhere or {})
        self.failures, self.compared = [], 0
        programs = self.folder / ".programs"
        programs.mkdir()
        wrapper = programs / "asof"
        wrapper.write_text(WRAPPER.format(asof=asof, port=self.port))
        wrapper.chmod(0o755)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("ASOF_")}
        self.environment |= {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "ASOF_SERVER__LISTEN": f"127.0.0.1:{self.port}",
            "NO_COLOR": "1",
            "no_proxy": "*",
        }

    def run(self, command, place):
        """Runs a command and compares; one that serves goes on in the background."""
        if re.match(r"(ASOF_\w+=\S+ )*asof run ", command.text):
            return self.begin_server(command, place)
        ran = subprocess.run(
            ["bash", "-c", self.here(command.text)], cwd=self.folder, env=self.environment, timeout=COMMAND_S, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )
        self.compare(command, self.as_shown(ran.stdout), place)

    def begin_server(self, command, place):
        """Starts `asof run` and waits until it has printed what the page shows."""
        self.stop_server(place)
        self.said = self.folder / ".said"
        with self.said.open("w") as out:
            self.server = subprocess.Popen(
                ["bash", "-c", "exec env " + command.text], cwd=self.folder, env=self.environment,
                stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )
        shown, until = "\n".join(command.shown), time.monotonic() + WAIT_S
        while time.monotonic() < until and self.server.poll() is None and not agrees(shown, self.server_text()):
            time.sleep(0.02)
        self.compare(command, self.server_text(), place)

    def server_text(self):
        return self.as_shown(self.said.read_text())

    def stop_server(self, place):
        """Ctrl-C; a server that does not end by it, or not with 0, is a failure."""
        if self.server is None:
            return
        server, self.server = self.server, None
        if server.poll() is None:
            server.send_signal(signal.SIGINT)
        try:
            code = server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            code = f"nothing within {STOP_S} s"
        if code != 0:
            self.failures.append(f"{place}: after Ctrl-C the server ended with {code}\n{self.server_text()}")

    def kill_server(self):
        """Nothing is tidied up, and nothing is said."""
        self.server.kill()
        self.server.wait()
        self.server = None

    def here(self, text):
        """What the page says, with the addresses of this session."""
        for shown, own in self.elsewhere.items():
            text = text.replace(shown, own)
        return text

    def as_shown(self, text):
        """What was printed, as a reader sees it who has everything where the page says."""
        for shown, own in self.elsewhere.items():
            text = text.replace(own, shown)
        return text.replace(f" --url http://{SHOWN_ADDRESS}", "")

    def compare(self, command, printed, place):
        shown = "\n".join(command.shown)
        self.compared += 1
        if not agrees(shown, printed):
            told = f"$ {command.text}\n--- the page says\n{shown}\n--- it prints\n{printed.strip()}"
            self.failures.append(f"{place}:\n{textwrap.indent(told, '    ')}")

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(text))


# What asks a server asks the port of this session; `asof` calls itself by the name that the reader types.
WRAPPER = """#!/usr/bin/env bash
case "$1" in
get|ingest|replay-dead-letters) command="$1"; shift; exec -a asof {asof} "$command" --url http://127.0.0.1:{port} "$@" ;;
esac
exec -a asof {asof} "$@"
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def finish(failures, words):
    """Prints the differences; the exit code says whether there are any."""
    for failure in failures:
        print(f"DIFFERS {failure}\n")
    print(f"{words}, {len(failures)} differences")
    sys.exit(1 if failures else 0)
