"""How fast `asof run` answers over HTTP: load generator and server on the same cores, open loop, latency from the due time.

    python3 bench/serve.py                      all but the long one, medians of 3 runs of 15 seconds
    python3 bench/serve.py one hundred          one entity, 100 entities a call
    python3 bench/serve.py --long               5,000 reads/s for five minutes beside ingest at half of its peak
    python3 bench/serve.py --runs 1 --seconds 5 a quick look

| Section | Reads |
|---|---|
| one | 1 entity × 10 features, 16 connections: capacity, then 40,000/s and lower until p99 < 1 ms |
| hundred | 100 entities × 10 features: capacity, then 5,000/s |
| wide | 250 features × 100 rows, of five views and three entity keys: capacity, then 50/s |
| hot | an account with 1 M events in its seven days and one with a few, in turns |
| long | only with --long: its rows are read in `order = 'file'`, decoding included, without gathering them first |

Capacity is the closed loop: each connection asks again as soon as it is answered. The events are generated: 2 M of 100 k
skewed accounts, half of them of the hot one. Exit 1 if a figure is not kept. Results: bench/results/serve.json.
"""

import argparse
import random
import shutil
import sys
import time

from serving.load import Load, median_of, print_head, print_row, write_bodies
from serving.machine import BENCH, add_binaries, check_binaries, enter_venv, print_machine, write_results
from serving.population import ACCOUNTS, HOT_ACCOUNT, MERCHANTS, skewed
from serving.projects import ten_features, transactions
from serving.promises import RATE_KEPT_MIN, is_answered, promised
from serving.server import Server

SECTIONS = ["one", "hundred", "wide", "hot"]
CONNECTIONS = 16
EVENTS, HOT_EVENTS, DAYS = 2_000_000, 1_000_000, 14
SMALL_ACCOUNT = 50_000  # about five events
ONE_RATES = [40_000, 30_000, 20_000, 15_000, 10_000, 7_500, 5_000, 2_500]
ONE_P99_US_MAX, HUNDRED_RATE, WIDE_RATE, WIDE_P99_US_MAX = 1_000, 5_000, 50, 20_000
HOT_RATE, HOT_FACTOR_MAX = 1_000, 10.0
LONG_RATE, LONG_S, LONG_WARM_UP_S, LONG_RUN_ON_S = 5_000, 300, 20, 30
LONG_US_MAX = {"p50_us": 500, "p99_us": 2_000, "p999_us": 10_000}
PEAK_EVENTS, EVENTS_PER_DAY, EVENT_BYTES = 20_000_000, 400_000, 23  # bytes in Parquet
READY_S_MAX = 1_800


def main():
    options = arguments()
    enter_venv()
    print_machine()
    kept = [section(options) for section in chosen(options)]
    sys.exit(0 if all(kept) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--runs", type=int, default=3, help="runs of each load; the median counts")
    parser.add_argument("--seconds", type=float, default=15, help="of each run, after its warm-up")
    parser.add_argument("--warm-up", type=float, default=3, help="seconds")
    parser.add_argument("--long", action="store_true", help="also, or without sections only, the long one")
    parser.add_argument("--long-seconds", type=float, default=LONG_S, help="of the long one")
    parser.add_argument("--keyed", action="store_true", help="the stream with a PRIMARY KEY, repeats searched for")
    add_binaries(parser)
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section named {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}, and --long")
    check_binaries(parser, options)
    return options


def chosen(options):
    names = options.sections or ([] if options.long else SECTIONS)
    steps = []
    if set(names) - {"wide"}:
        steps.append(lambda options: narrow(options, [name for name in names if name != "wide"]))
    if "wide" in names:
        steps.append(wide)
    if options.long:
        steps.append(long)
    return steps


def narrow(options, names):
    """The sections that read ten features, from one server."""
    folder = ten_features("ten", transactions(EVENTS, DAYS, HOT_EVENTS), is_keyed=options.keyed)
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        check_answers(server, "account_v1", [{"account_id": SMALL_ACCOUNT}], 10)
        return all([{"one": one, "hundred": hundred, "hot": hot}[name](options, server, folder) for name in names])


def one(options, server, folder):
    load = of_accounts(options, folder, "one", requests=20_000, rows=1)
    print_head("1 entity × 10 features, 16 connections")
    figures = {"capacity": measured(options, server, load, "max", "closed loop")}
    for rate in ONE_RATES:
        report = figures[f"{rate}/s"] = measured(options, server, load, rate)
        if is_answered(report, rate) and report["p99_us"] < ONE_P99_US_MAX:
            break
    write_results("serve", {"one": figures})
    first = figures[f"{ONE_RATES[0]}/s"]
    return promised(f"{ONE_RATES[0]:,}/s", is_answered(first, ONE_RATES[0])) & promised(
        f"p99 < {ONE_P99_US_MAX / 1000:g} ms at {ONE_RATES[0]:,}/s", first["p99_us"] < ONE_P99_US_MAX)


def hundred(options, server, folder):
    load = of_accounts(options, folder, "hundred", requests=1_000, rows=100)
    print_head("100 entities × 10 features, 16 connections")
    figures = {
        "capacity": measured(options, server, load, "max", "closed loop"),
        f"{HUNDRED_RATE}/s": measured(options, server, load, HUNDRED_RATE),
    }
    write_results("serve", {"hundred": figures})
    return promised(f"{HUNDRED_RATE:,}/s", is_answered(figures[f"{HUNDRED_RATE}/s"], HUNDRED_RATE))


def hot(options, server, folder):
    """The hot account and the small one in turns, each asked alone, so that neither waits for the other."""
    print_head("an account with 1 M events in seven days, and a small one")
    loads, reports = {}, {"hot": [], "small": []}
    for name, account in [("hot", HOT_ACCOUNT), ("small", SMALL_ACCOUNT)]:
        bodies = write_bodies(folder / f"{name}.jsonl", [[{"account_id": account}]])
        loads[name] = Load(options.open_loop, bodies, "account_v1", connections=4)
    for _ in range(options.runs):
        for name, load in loads.items():
            reports[name].append(load.run(server, HOT_RATE, options.seconds, options.warm_up))
    figures = {name: median_of(of_one) for name, of_one in reports.items()}
    for name, report in figures.items():
        print_row(f"{name} account", HOT_RATE, report)
    write_results("serve", {"hot": figures})
    factors = {of: figures["hot"][of] / max(1, figures["small"][of]) for of in ("p50_us", "p99_us")}
    answered = all(is_answered(report, HOT_RATE) for report in figures.values())
    return promised("both accounts answered", answered) & all([
        promised(f"hot account, {of[:3]}: factor {factor:.2f}, at most {HOT_FACTOR_MAX:g}", factor <= HOT_FACTOR_MAX)
        for of, factor in factors.items()
    ])


def wide(options):
    folder = ten_features("wide", transactions(EVENTS, DAYS, HOT_EVENTS), is_keyed=options.keyed, with_wide=True)
    chance = random.Random("wide")
    row = lambda: {"account_id": 1 + skewed(chance, ACCOUNTS), "merchant_id": skewed(chance, MERCHANTS)}
    bodies = write_bodies(folder / "wide.jsonl", [[row() for _ in range(100)] for _ in range(200)])
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        answer = check_answers(server, "wide_v1", [{"account_id": HOT_ACCOUNT, "merchant_id": 0}], 250)
        held = dict(zip(answer["columns"], answer["rows"][0]))["account_all_count_7d"]
        assert held == HOT_EVENTS, f"the hot account has {held} events in its seven days"
        load = Load(options.open_loop, bodies, "wide_v1", connections=4)
        print_head("250 features × 100 rows, 4 connections")
        figures = {
            "capacity": measured(options, server, load, "max", "closed loop"),
            f"{WIDE_RATE}/s": measured(options, server, load, WIDE_RATE),
        }
    write_results("serve", {"wide": figures})
    report = figures[f"{WIDE_RATE}/s"]
    return promised(f"{WIDE_RATE}/s", is_answered(report, WIDE_RATE)) & promised(
        f"p99 < {WIDE_P99_US_MAX / 1000:g} ms", report["p99_us"] < WIDE_P99_US_MAX)


def long(options):
    """Reads beside ingest at half of its peak."""
    peak = peak_rows_per_s(options)
    rate = round(peak / 2)
    count = int(rate * (LONG_WARM_UP_S + options.long_seconds + LONG_RUN_ON_S))
    check_room(count)
    data = transactions(count, max(8, count // EVENTS_PER_DAY))
    try:
        folder = ten_features("long", data, f"order = 'file', rate = '{rate}/s'", options.keyed)
        report = beside_ingest(options, folder, rate)
    finally:
        shutil.rmtree(data)  # gigabytes, and of another size the next time
    report["ingest_peak"] = round(peak)
    return report_long(options, report)


def check_room(count):
    """Refuses before it fills the disk."""
    needed, free = count * EVENT_BYTES, shutil.disk_usage(BENCH).free
    if needed > free / 2:
        raise SystemExit(f"{count:,} events take {needed / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free: lower --long-seconds")


def beside_ingest(options, folder, rate):
    load = of_accounts(options, folder, "one", requests=20_000, rows=1)
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        report = load.run(server, LONG_RATE, options.long_seconds, LONG_WARM_UP_S)
        replay, now = server.replay("events"), time.time()
        report["resident_mib"] = server.resident_bytes() >> 20
    report.update(ingest_asked=rate, ingest_reached=round(replay.rows / (now - replay.started)))
    return report


def report_long(options, report):
    print_head(f"{LONG_RATE:,} reads/s of 1 entity × 10 features for {options.long_seconds:g} s beside half of the peak of ingest")
    print_row("beside ingest", LONG_RATE, report)
    print("\ningest: peak {ingest_peak:,} rows/s, asked {ingest_asked:,}, reached {ingest_reached:,}".format(**report), end="")
    print(f"; resident {report['resident_mib']:,} MiB")
    write_results("serve", {"long": report})
    is_on_schedule = report["ingest_reached"] >= RATE_KEPT_MIN * report["ingest_asked"]
    return all([
        promised(f"{LONG_RATE:,}/s", is_answered(report, LONG_RATE)),
        promised("ingest on schedule", is_on_schedule),
        *(promised(f"{of[:-3]} < {bound_us / 1000:g} ms", report[of] < bound_us) for of, bound_us in LONG_US_MAX.items()),
    ])


def peak_rows_per_s(options):
    """Rows decoded and taken in per second at rate 'max', without reads."""
    folder = ten_features("peak", transactions(PEAK_EVENTS, PEAK_EVENTS // EVENTS_PER_DAY), "order = 'file'", options.keyed)
    peaks = []
    for _ in range(options.runs):
        with Server(options.asof, folder) as server:
            server.wait_ready(READY_S_MAX)
            peaks.append(PEAK_EVENTS / (time.time() - server.replay("events").started))
    print(f"\npeak of ingest: {', '.join(f'{peak:,.0f}' for peak in peaks)} rows/s")
    return sorted(peaks)[len(peaks) // 2]


def of_accounts(options, folder, name, requests, rows):
    """Reads of accounts drawn as the events draw them."""
    chance = random.Random(name)
    calls = [[{"account_id": 1 + skewed(chance, ACCOUNTS)} for _ in range(rows)] for _ in range(requests)]
    return Load(options.open_loop, write_bodies(folder / f"{name}.jsonl", calls), "account_v1", CONNECTIONS)


def measured(options, server, load, rate, name="open loop"):
    report = median_of([load.run(server, rate, options.seconds, options.warm_up) for _ in range(options.runs)])
    print_row(name, rate, report)
    return report


def check_answers(server, service, rows, columns):
    """A server that answers fast but knows nothing must not pass."""
    answer = server.read(service, rows)
    assert len(answer["columns"]) == columns, f"`{service}` has {len(answer['columns'])} features, not {columns}"
    assert all(any(known) for known in answer["known"].values()), f"`{service}` knows nothing of {rows}: {answer['known']}"
    return answer


if __name__ == "__main__":
    main()
