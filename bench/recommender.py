"""The page load of a recommender: 12,000 events/s beside 2,000 reads/s of 500 candidate items × 20 features, at 1×, 2×, 5×.

    python3 bench/recommender.py                        also ½×, ¼×, ⅛× if 1× does not hold: the knee is looked for
    python3 bench/recommender.py --multiples 0.1,0.2 --seconds 10

Nothing is tuned and nothing is promised: it reports the rates that were reached, the latency of the reads from their due
time, and the **age of what is read**: the wall clock when an answer has come, minus the instant at which the newest click
in it was due. Click k, from 0, is due at `started_at + k / rate`, both told by the server (`replay` in /v1/objects/clicks);
an answer's position p says that clicks 0 to p − 1 are in it, so its newest was due at `started_at + (p − 1) / rate`. A
replay that keeps its schedule and is seen at once has an age near 0; one that falls behind ages without bound.

A multiple *holds* when reads and clicks reach 98 % of what was asked, none fails, and the age's p99 in the last third of
the time is at most twice that of the first third plus 100 ms. The knee is the greatest multiple that held. Of the events
nine in ten are clicks, the others visits: a second stream that nobody reads here. Results: bench/results/recommender.json.
"""

import argparse
import random
from string import Template

from serving.load import Load, failures, print_head, print_row, write_bodies
from serving.machine import add_binaries, check_binaries, enter_venv, print_machine, write_results
from serving.population import ITEMS, skewed
from serving.projects import SERVING, events, project
from serving.server import Server

CLICKS_RATE, VISITS_RATE, READS_RATE = 10_800, 1_200, 2_000
CANDIDATES, CALLS, CONNECTIONS = 500, 400, 16
EVENT_SECONDS = 60  # of event time pass in a second of the replay at its plain rate
RUN_ON_S = 40  # of replay after the last read: for starting, and for answers that are late
LOWER = [0.5, 0.25, 0.125]
HOLDS_MIN, AGE_GROWTH_MAX, AGE_SLACK_MS = 0.98, 2.0, 100.0
READY_S_MAX = 600


def main():
    options = arguments()
    enter_venv()
    print_machine()
    data = made(max(options.multiples), options.warm_up + options.seconds + RUN_ON_S)
    print_head(f"recommender: {CANDIDATES} items × 20 features a read, {CONNECTIONS} connections")
    figures = {multiple: measured(options, data, multiple) for multiple in options.multiples}
    for multiple in LOWER:
        if any(figure["holds"] for figure in figures.values()):
            break
        figures[multiple] = measured(options, data, multiple)
    report(dict(sorted(figures.items())))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--multiples", default="1,2,5", help="of both rates")
    parser.add_argument("--seconds", type=float, default=30, help="of each, after its warm-up")
    parser.add_argument("--warm-up", type=float, default=20, help="seconds with reads, while the windows fill")
    add_binaries(parser)
    options = parser.parse_args()
    options.multiples = [float(multiple) for multiple in options.multiples.split(",")]
    check_binaries(parser, options)
    return options


def made(multiple_max, seconds):
    """Enough clicks and visits for the greatest multiple, evenly spaced in event time, so that both keep in step."""
    def arguments(rate):
        return ["clicks", "--events", int(rate * multiple_max * seconds), "--per-second", rate / EVENT_SECONDS]

    files = {"clicks.parquet": arguments(CLICKS_RATE), "visits.parquet": arguments(VISITS_RATE)}
    return events(f"clicks_{multiple_max:g}x_{seconds:g}s", files)


def measured(options, data, multiple):
    rates = {"clicks_rate": CLICKS_RATE * multiple, "visits_rate": VISITS_RATE * multiple}
    sql = Template((SERVING / "recommender.sql").read_text()).substitute({name: f"{rate:g}" for name, rate in rates.items()})
    folder = project("recommender", data, {"recommender.sql": sql})
    positions = folder / "positions.csv"
    load = Load(options.open_loop, candidates(folder), "candidates_v1", CONNECTIONS)
    more = ["--position-of", "clicks", "--positions", positions]
    with Server(options.asof, folder) as server:
        server.wait_ready(READY_S_MAX)
        figure = load.run(server, READS_RATE * multiple, options.seconds, options.warm_up, more)
        started = server.replay("clicks").started
    seen = [tuple(map(int, line.split(","))) for line in positions.read_text().splitlines()]
    figure.update(age_figures(seen, started, rates["clicks_rate"]))
    figure["holds"] = holds(figure, READS_RATE * multiple, rates["clicks_rate"])
    print_row(f"{multiple:g}×", round(READS_RATE * multiple), figure)
    return figure


def candidates(folder):
    chance = random.Random("candidates")
    calls = [[{"item_id": skewed(chance, ITEMS)} for _ in range(CANDIDATES)] for _ in range(CALLS)]
    return write_bodies(folder / "candidates.jsonl", calls)


def age_figures(seen, started, rate):
    """Ages in milliseconds, in the order of the answers; how fast positions grew between the first answer and the last."""
    if len(seen) < 100:
        return {"clicks_rate": 0.0, "age_p50_ms": None, "age_p99_ms": None, "age_p99_first_ms": None, "age_p99_last_ms": None}
    ages = [max(0.0, (wall_us / 1e6 - started - (position - 1) / rate) * 1e3) for wall_us, position in seen]
    (first_us, first), (last_us, last) = seen[0], seen[-1]
    third = len(ages) // 3
    return {
        "clicks_rate": round((last - first) / ((last_us - first_us) / 1e6), 1),
        "age_p50_ms": round(quantile(ages, 0.5), 2),
        "age_p99_ms": round(quantile(ages, 0.99), 2),
        "age_p99_first_ms": round(quantile(ages[:third], 0.99), 2),
        "age_p99_last_ms": round(quantile(ages[-third:], 0.99), 2),
    }


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def holds(figure, reads_rate, clicks_rate):
    keeps_up = figure["rate"] >= HOLDS_MIN * reads_rate and figure["clicks_rate"] >= HOLDS_MIN * clicks_rate
    if failures(figure) or not keeps_up:
        return False
    return figure["age_p99_last_ms"] <= AGE_GROWTH_MAX * figure["age_p99_first_ms"] + AGE_SLACK_MS


def report(figures):
    print("\n| multiple | clicks/s asked | reached | age p50 ms | p99 ms | p99 in the first third | in the last | MB/s | holds |")
    print("|---|" + "---:|" * 7 + "---|")
    for multiple, figure in figures.items():
        ages = " | ".join(str(figure[f"age_{of}_ms"]) for of in ("p50", "p99", "p99_first", "p99_last"))
        print(f"| {multiple:g}× | {CLICKS_RATE * multiple:,.0f} | {figure['clicks_rate']:,.0f} | {ages} | {figure['bytes_per_s'] / 1e6:.0f} | ", end="")
        print(f"{'yes' if figure['holds'] else 'no'} |")
    held = [multiple for multiple, figure in figures.items() if figure["holds"]]
    broken = [multiple for multiple, figure in figures.items() if not figure["holds"]]
    knee = f"{max(held):g}×" if held else f"below {min(figures):g}×"
    print(f"\nknee: {knee}" + (f"; {min(broken):g}× does not hold" if broken else "; every multiple held, look higher"))
    write_results("recommender", {f"{multiple:g}x": figure for multiple, figure in figures.items()})


if __name__ == "__main__":
    main()
