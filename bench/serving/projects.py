"""The projects that the serving benchmarks run: SQL of this folder beside generated events, in bench/data/serving.

Events are made once and kept. A project's folder has its SQL, written anew each time, and `data`, a link to the events.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from serving.wide import wide_sql

SERVING = Path(__file__).resolve().parent
BENCH = SERVING.parent
DATA = BENCH / "data" / "serving"
TEN = BENCH / "project" / "features.sql"
KEY_COLUMN = "  transaction_id BIGINT  NOT NULL,\n"
KEY = "  PRIMARY KEY (transaction_id),\n"


def events(name, files):
    """A folder of events: for each file name the arguments of generate.py that make it."""
    folder = DATA / "events" / name
    if not folder.exists():
        print(f"making {name} …", flush=True)
        unfinished = folder.with_name(name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        for file, arguments in files.items():
            command = [sys.executable, SERVING / "generate.py", *arguments, "--out", unfinished / file]
            subprocess.run([str(word) for word in command], check=True)
        unfinished.rename(folder)
    return folder


def transactions(count, days, hot_events=0):
    arguments = ["transactions", "--events", count, "--days", days, "--hot-events", hot_events]
    return events(f"transactions_{count}_{days}d_hot_{hot_events}", {"transactions.parquet": arguments})


def project(name, data, sql):
    """The folder of a project: texts of SQL by file name, and a link to its events."""
    folder = DATA / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(data, target_is_directory=True)
    for file, text in sql.items():
        (folder / file).write_text(text)
    return folder


def live(name, sql, settings):
    """The folder of a project whose streams are fed over HTTP, with its `asof.toml` and without any event yet."""
    folder = DATA / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "asof.toml").write_text(settings)
    for file, text in sql.items():
        (folder / file).write_text(text)
    return folder


def ten_features(name, data, reading="rate = 'max'", is_keyed=False, with_wide=False):
    """Ten features of an account, the service `account_v1`; with 250 more and `wide_v1` if asked for.

    `reading` are more options of the file.
    """
    sql = {"features.sql": stream_sql(TEN.read_text(), reading, is_keyed), "service.sql": (SERVING / "service.sql").read_text()}
    if with_wide:
        sql["wide.sql"] = wide_sql()
    return project(name, data, sql)


def stream_sql(text, reading, is_keyed):
    text = replaced(text, "format = 'parquet')", f"format = 'parquet', {reading})")
    if is_keyed:
        text = replaced(text, "  account_id  BIGINT", KEY_COLUMN + "  account_id  BIGINT")
        text = replaced(text, "  WATERMARK FOR", KEY + "  WATERMARK FOR")
    return text


def replaced(text, old, new):
    assert text.count(old) == 1, f"`{old}` is not once in the SQL"
    return text.replace(old, new)
