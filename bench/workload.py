"""The projects that the benchmark runs on: bench/project beside data of a given size, made once and kept in bench/data."""

import shutil
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
GENERATE = BENCH.parent / "examples" / "fraud" / "generate.py"


class Project:
    """A folder with features.sql and data/transactions.parquet."""

    def __init__(self, name):
        self.folder = BENCH / "data" / name
        self.events = self.folder / "data" / "transactions.parquet"
        self.spine = self.folder / "bench_spine.parquet"

    def make(self, command):
        """Runs the command that writes the data, unless they are there; then puts the SQL beside them."""
        if not self.events.exists():
            print(f"making {self.folder.name} …", flush=True)
            unfinished = self.folder.with_name(self.folder.name + ".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            subprocess.run([sys.executable, *map(str, command), "--out", unfinished], check=True, stdout=subprocess.DEVNULL)
            shutil.rmtree(self.folder, ignore_errors=True)
            unfinished.rename(self.folder)
        return self.with_sql({})

    def with_sql(self, replaced):
        text = (BENCH / "project" / "features.sql").read_text()
        for old, new in replaced.items():
            assert old in text, f"`{old}` is not in features.sql"
            text = text.replace(old, new)
        (self.folder / "features.sql").write_text(text)
        return self

    def out(self, contender):
        return self.folder / f"out_{contender}.parquet"


def fraud(events, accounts):
    """Card transactions of examples/fraud, in order of arrival; zipf-like accounts, 30 days."""
    command = [GENERATE, "--events", events, "--accounts", accounts, "--days", 30, "--order", "arrival"]
    return Project(f"fraud_{events}_{accounts}").make(command)


def even(events, accounts, days, hot_events=0):
    """Events spread evenly over accounts and days; `hot_events` more of one account within seven days."""
    name = f"even_{events}_{accounts}_{days}d" + (f"_hot_{hot_events}" if hot_events else "")
    command = [BENCH / "even.py", "--events", events, "--accounts", accounts, "--days", days, "--hot-events", hot_events]
    return Project(name).make(command)


def spined(project, rows):
    """The project with a spine: half of the rows at an event of their account, half at any time; accounts as in the events."""
    if not project.spine.exists():
        command = [BENCH / "sample_spine.py", project.events, project.spine, str(rows)]
        subprocess.run([sys.executable, *map(str, command)], check=True)
    return project
