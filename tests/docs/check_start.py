"""The five minutes of docs/start.md, and the examples of docs/concepts: every command is run, every output compared.

    python3 tests/docs/check_start.py [--asof target/release/asof]

docs/start.md runs from top to bottom in an empty folder. Then its project is served once more, and the console blocks of
docs/concepts are run against it. How a page is read is told in console.py. Needs the binary, bash, sed and curl.
"""

import tempfile

from console import REPOSITORY, Command, Session, binary, finish, steps

START = "docs/start.md"
# Fewer, and a fence was renamed so that nothing is compared.
COMMANDS_MIN = 20


def main():
    asof = binary(__doc__)
    with tempfile.TemporaryDirectory(prefix="asof-docs-") as folder:
        session = Session(folder, asof)
        try:
            run_page(session, START)
            session.stop_server(START)
            session.begin_server(Command("asof run cards", ["…", "try:", "…"]), "docs/concepts")
            for page in sorted((REPOSITORY / "docs" / "concepts").glob("*.md")):
                run_page(session, f"docs/concepts/{page.name}")
        finally:
            session.stop_server("docs/concepts")
    if session.compared < COMMANDS_MIN:
        session.failures.append(f"only {session.compared} commands were found, at least {COMMANDS_MIN} are expected")
    finish(session.failures, f"docs/start.md and docs/concepts: {session.compared} commands run")


def run_page(session, page):
    for word, argument in steps((REPOSITORY / page).read_text()):
        if word == "file":
            session.write(*argument)
        elif word == "stop":
            session.stop_server(page)
        elif word == "console":
            for command in argument:
                session.run(command, page)
        else:
            raise ValueError(f"{page}: `<!-- {word} -->` means nothing here")


if __name__ == "__main__":
    main()
