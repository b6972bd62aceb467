"""The page of an example: every command that its README shows is run, and prints what the README says.

    python3 tests/docs/check_example.py recommendations [--asof target/release/asof]

The page is run from top to bottom, in a folder in which `examples`, `tests` and `target/release/asof` are those of the repository.
How a page is read is told in console.py; here besides

    <!-- prints COMMAND -->      the text up to `<!-- /prints -->`, a table of Markdown, is what the command prints

`python` is the one that runs this test: it needs what tests/requirements.txt names. Needs the binary, bash and curl.
"""

import re
import sys
import tempfile
from pathlib import Path

from console import REPOSITORY, Session, binary, finish, steps

COMMANDS_MIN = 5  # fewer, and a fence was renamed so that nothing is compared
PRINTS = re.compile(r"<!-- prints (.+?) -->\n(.*?)\n<!-- /prints -->", re.S)


def main():
    example = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    readme = REPOSITORY / "examples" / example / "README.md"
    if not example or not readme.exists():
        sys.exit(f"which example? there is no `{readme}`")
    asof = binary(__doc__)
    page = PRINTS.sub(lambda found: f"```console\n$ {found[1]}\n{found[2]}\n```", readme.read_text())
    with tempfile.TemporaryDirectory(prefix="asof-example-") as folder:
        session = Session(folder, asof)
        furnish(Path(folder), asof)
        try:
            for word, argument in steps(page):
                take(session, word, argument, readme.relative_to(REPOSITORY))
        finally:
            session.stop_server(readme.name)
    if session.compared < COMMANDS_MIN:
        session.failures.append(f"{session.compared} commands were found, at least {COMMANDS_MIN} are expected")
    finish(session.failures, f"{readme.relative_to(REPOSITORY)}: {session.compared} commands run")


def furnish(folder, asof):
    """What a reader has in the repository: the examples, the tests, the binary, and `python`."""
    for name in ("examples", "tests"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "target" / "release").mkdir(parents=True)
    (folder / "target" / "release" / "asof").symlink_to(asof)
    python = folder / ".programs" / "python"
    python.write_text(f'#!/usr/bin/env bash\nexec "{sys.executable}" -B "$@"\n')
    python.chmod(0o755)


def take(session, word, argument, page):
    if word == "stop":
        session.stop_server(page)
    elif word == "console":
        for command in argument:
            session.run(command, page)
    else:
        raise ValueError(f"{page}: `<!-- {word} -->` means nothing here")


if __name__ == "__main__":
    main()
