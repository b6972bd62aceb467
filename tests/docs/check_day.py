"""A day in the life, of README.md: start, post events with curl, read, `kill -9`, start again, the same answer.

    python3 tests/docs/check_day.py [--asof target/release/asof]

The section is run from top to bottom in an empty folder. How a page is read is told in console.py. Needs the binary, bash and
curl.
"""

import tempfile
import time
import urllib.request

from console import REPOSITORY, Session, binary, finish, steps

PAGE, SECTION = "README.md", "## A day in the life\n"
# Fewer, and a fence was renamed so that nothing is compared.
COMMANDS_MIN = 8
KILLS_MIN = 1
READY_S = 10


def main():
    asof = binary(__doc__)
    section = (REPOSITORY / PAGE).read_text().split(f"\n{SECTION}")[1].split("\n## ")[0]
    kills = 0
    with tempfile.TemporaryDirectory(prefix="asof-docs-") as folder:
        session = Session(folder, asof)
        try:
            for word, argument in steps(section):
                kills += word == "kill"
                take(session, word, argument)
        finally:
            session.stop_server(PAGE)
    if session.compared < COMMANDS_MIN or kills < KILLS_MIN:
        expected = f"at least {COMMANDS_MIN} and {KILLS_MIN} are expected"
        session.failures.append(f"{session.compared} commands and {kills} kills were found, {expected}")
    finish(session.failures, f"{PAGE}, a day in the life: {session.compared} commands run")


def take(session, word, argument):
    """One step of the page."""
    if word == "file":
        session.write(*argument)
    elif word == "kill":
        session.kill_server()
    elif word == "stop":
        session.stop_server(PAGE)
    elif word == "console":
        for command in argument:
            session.run(command, PAGE)
            if command.text.startswith("asof run "):
                wait_ready(session)
    else:
        raise ValueError(f"{PAGE}: `<!-- {word} -->` means nothing here")


def wait_ready(session):
    """A reader's fingers are slower than a start; a script's are not."""
    until = time.monotonic() + READY_S
    while not is_ready(session):
        if time.monotonic() > until:
            raise TimeoutError(f"the server is not ready after {READY_S} s:\n{session.server_text()}")
        time.sleep(0.01)


def is_ready(session):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{session.port}/readyz", timeout=READY_S) as answer:
            return answer.status == 200
    except OSError:  # nobody listens yet, or 503
        return False


if __name__ == "__main__":
    main()
