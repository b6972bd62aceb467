"""The sections of ingest.py that take long: a restart with much state, and five times 100 million events an hour."""

import shutil
import threading
import time

from serving.live_projects import arrow_transactions, checked, fill, ndjson, transactions
from serving.load import print_head, print_row
from serving.machine import BENCH, write_results
from serving.posts import FIRST_ACCOUNT, used
from serving.promises import is_answered, promised
from serving.server import Server

STATE_DAYS, REPLAYED, RESTART_S_MAX = 6.9, 3_000_000, 5.0
SPARE = 1.3  # the last run of the generator posts more than was asked for, and none of it may lie in the future
LONG_RATE, LONG_P99_US_MAX, GROWTH_MAX = 139_000, 1_000_000, 1.15
# Windows of five minutes, and hardly any past for reads: from then on the state is full.
LONG_FULL_S, LONG_SETTINGS = 400, '[checkpoint]\ninterval = "10s"\n[state]\nas_of_horizon = "1s"\n'
SAMPLE_S, SAMPLES_MIN = 5, 10
LOG_EVENT_BYTES = 100  # on disk, segments and Parquet together
READY_S_MAX = 900
DAY_US = 86_400 * 10**6
ACCOUNTS_ASKED = 200


def restart(options):
    """1 M accounts: start after an orderly end, then after a kill with events behind the last checkpoint."""
    check_room(options.state_events)
    folder = transactions("ingest_restart", lateness="'1' DAY")
    posts, end_us = arrow_transactions(options, folder), time.time_ns() // 1_000
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        fill_week(server, posts, options.state_events, end_us)
        told, before = server.get("/v1/objects/account_features"), answers(server, end_us)
    print(f"\n{told['entities']:,} accounts, {told['events_held']:,} events, {told['state_bytes'] >> 20:,} MiB of state")
    figures = {"stopped": ready_s(options, folder, before, end_us)}
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        fill(server, posts, used(server, posts.stream) + REPLAYED)
        server.kill()
    figures["killed"] = ready_s(options, folder, before, end_us)
    write_results("ingest", {"restart": {"events": told["events_held"], "state_bytes": told["state_bytes"], **figures}})
    return all([
        promised(f"{name}: ready within {RESTART_S_MAX:g} s, {seconds:.2f} s", seconds <= RESTART_S_MAX)
        for name, seconds in figures.items()
    ])


def fill_week(server, posts, events, end_us):
    """Events spread over the windows' seven days; each run of the generator goes on in time where the last one ended."""
    step_ns = round(STATE_DAYS * DAY_US * 1_000 / (events * SPARE))
    first_us = end_us - round(STATE_DAYS * DAY_US)
    while (there := used(server, posts.stream)) < events:
        seconds = max(0.2, min(5.0, (events - there) / 2_000_000))
        checked(posts.run(server, "max", seconds, 0, f"{first_us + there * step_ns // 1_000},{step_ns}"))


def ready_s(options, folder, before, as_of_us):
    """Seconds from start to ready; the answers are those of before."""
    began = time.monotonic()
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX, every_s=0.01)
        seconds = time.monotonic() - began
        assert answers(server, as_of_us) == before, "the answers after a restart differ from those before"
    return round(seconds, 2)


def answers(server, as_of_us):
    """Values of some accounts as of an instant that no later event touches."""
    rows = [{"account_id": FIRST_ACCOUNT + number} for number in range(ACCOUNTS_ASKED)]
    answer = server.read("account_v1", rows, as_of_us)
    known = sum(next(iter(answer["known"].values())))
    assert known > ACCOUNTS_ASKED / 2, f"of {ACCOUNTS_ASKED} accounts {known} are known"
    return answer["rows"]


def long(options):
    """No lag: every batch is answered in time to the end. Flat memory: once the windows are full."""
    check_room(int(LONG_RATE * options.long_seconds))
    folder = transactions("ingest_long", LONG_SETTINGS, hour="'1' MINUTE", week="'5' MINUTE")
    print_head(f"{LONG_RATE:,} events/s for {options.long_seconds:g} s")
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        posts = ndjson(options, folder)
        samples, report = beside(server, lambda: posts.run(server, LONG_RATE, options.long_seconds, 5))
    print_row("long", LONG_RATE, report)
    halves = halved([resident for second, resident in samples if second >= LONG_FULL_S])
    growth = halves and max(halves[1]) / max(halves[0])
    resident_mib = [resident >> 20 for _, resident in samples]
    write_results("ingest", {"long": report | {"resident_mib": resident_mib, "growth": growth}})
    shutil.rmtree(folder)  # gigabytes
    return all([
        promised(f"{LONG_RATE:,} events/s", is_answered(report, LONG_RATE / posts.rows)),
        promised(f"p99 < {LONG_P99_US_MAX / 1e6:g} s", report["p99_us"] < LONG_P99_US_MAX),
        promised(f"memory after {LONG_FULL_S} s: factor {growth}, at most {GROWTH_MAX}", growth and growth <= GROWTH_MAX),
    ])


def beside(server, work):
    """What the work gives, and meanwhile each few seconds (second, resident bytes)."""
    is_over, samples, began = threading.Event(), [], time.monotonic()

    def sample():
        while not is_over.wait(SAMPLE_S):
            samples.append((time.monotonic() - began, server.resident_bytes()))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        return samples, work()
    finally:
        is_over.set()
        sampler.join()


def halved(values):
    """None if there are too few to say anything."""
    half = len(values) // 2
    return (values[:half], values[half:]) if half >= SAMPLES_MIN else None


def check_room(events):
    """Refuses before it fills the disk."""
    needed, free = events * LOG_EVENT_BYTES, shutil.disk_usage(BENCH).free
    if needed > free / 2:
        raise SystemExit(f"{events:,} events take about {needed / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free")
