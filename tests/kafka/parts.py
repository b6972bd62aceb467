"""What the checks of Asof on real brokers have in common: their options, their parts one after the other, and what is said of each.

    run(PARTS, folder, lambda part, own: PARTS[part](Setting(options, own, cluster, findings)), findings)

A part that fails as a whole (a broker that does not start, a server that ends, a wait that takes too long) is one thing that is
wrong, and the others are run. Exit 1 where anything is.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path += [str(HERE.parent / "serving"), str(HERE.parent / "durability")]  # findings.py, live_server.py

import programs
from children import Failed
from findings import Findings
from running_server import Defect

# Of the server: checkpoints and segments often enough that kills meet them.
SETTINGS = {"ASOF_CHECKPOINT__INTERVAL": "300ms", "ASOF_STORAGE__SEGMENT_SIZE": "1MiB"}


def parser(doc, parts=None):
    """With the options of every check; each adds its own, and reads them with `read`."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--asof", type=Path, default=REPOSITORY / "target/release/asof", metavar="BINARY")
    if parts:
        made.add_argument("--only", nargs="+", choices=parts, help="these parts, in this order")
    made.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    made.add_argument("--keep", type=Path, metavar="FOLDER", help="work here, and leave everything")
    return made


def read(made):
    options = made.parse_args()
    options.asof = options.asof.resolve()
    return options


def begin(options):
    """Says what is run, and fetches what is needed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    programs.require()
    programs.fetched()
    print(f"seed {options.seed}", flush=True)


def working_folder(options, prefix):
    """The folder as a context: the one that was asked for, or one that goes when the block ends."""
    if options.keep:
        return KeptFolder(options.keep)
    return tempfile.TemporaryDirectory(prefix=prefix)


class KeptFolder:
    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        return self.folder

    def __exit__(self, *_):
        pass


def run(parts, folder, check, findings):
    """Runs these parts by name, each in a folder of its own; `check` of a part says in words what it did."""
    for part in parts:
        own = Path(folder) / part
        own.mkdir(parents=True)
        began, before = time.monotonic(), findings.claims
        try:
            told = check(part, own)
        except (Failed, Defect, TimeoutError) as failure:
            findings.tell(f"{part}: {failure}")
            told = "given up"
        print(f"{part}: {told}, {findings.claims - before} claims ({time.monotonic() - began:.1f} s)", flush=True)


def finish(findings):
    values = f"{findings.values} values, " if findings.values else ""
    print(f"{findings.claims} claims, {values}{findings.wrong} wrong")
    sys.exit(findings.wrong > 0)
