"""How asof's cost per event grows: with the accounts, with the window, and for one account that has very many events.

The work is `--every-event` with the ten features; even events, so that only the named quantity changes. The cost is CPU
time per event, start-up included. Writes results/scaling.csv and docs/images/scaling.png.
"""

from every_event import asof_every_event
from measure import race, write_csv
from workload import BENCH, even

IMAGE = BENCH.parent / "docs" / "images" / "scaling.png"
ACCOUNTS = [10_000, 100_000, 1_000_000, 10_000_000]
WINDOWS = {  # the longest of the three windows, in minutes
    "INTERVAL '5' MINUTE": 5, "INTERVAL '1' HOUR": 60, "INTERVAL '1' DAY": 1_440, "INTERVAL '7' DAY": 10_080,
    "INTERVAL '30' DAY": 43_200, "INTERVAL '90' DAY": 129_600,
}
ACCOUNTS_FACTOR_MAX, WINDOW_FACTOR_MAX, HOT_FACTOR_MAX = 3.0, 1.5, 3.0


def run(options):
    """Measures the three; true if each stays within its factor (or there is no asof to measure)."""
    if not options.asof.exists():
        print("scaling: left out, there is no asof")
        return True
    by_accounts = [measured(even(options.scaling_events, accounts, 30), options, accounts) for accounts in ACCOUNTS]
    by_window = [
        measured(even(options.scaling_events, options.scaling_events // 100, 120), options, minutes, interval)
        for interval, minutes in WINDOWS.items()
    ]
    hot = hot_account(options)
    rows = [[kind, *row] for kind, part in [("accounts", by_accounts), ("window_minutes", by_window), ("hot", hot)] for row in part]
    write_csv(BENCH / "results" / "scaling.csv", ["by", "value", "cpu_ns_per_event", "wall_ns_per_event", "peak_mib"], rows)
    plot(by_accounts, by_window, hot)
    return report(by_accounts, by_window, hot)


def measured(project, options, value, interval="INTERVAL '7' DAY", events=None):
    """The row: value, CPU and wall nanoseconds per event, peak memory."""
    project.with_sql({"INTERVAL '7' DAY": interval})
    contender = asof_every_event(project, options.asof)
    result, = race([contender], options.runs)
    contender.out.unlink()
    events = events or options.scaling_events
    return [value, round(result.cpu_s() * 1e9 / events), round(result.wall_s() * 1e9 / events), round(result.peak_mib())]


def hot_account(options):
    """An event of average accounts, and one of the hot account: what its events add to the same run, spread over them."""
    hot_events = options.scaling_events // 10
    plain_events = options.scaling_events - hot_events
    plain = measured(even(plain_events, options.scaling_events // 10, 30), options, "average", events=plain_events)
    mixed = measured(even(plain_events, options.scaling_events // 10, 30, hot_events), options, "mixed")
    added = [(mixed[column] * options.scaling_events - plain[column] * plain_events) / hot_events for column in (1, 2)]
    return [plain, ["hot", round(added[0]), round(added[1]), mixed[3]]]


def report(by_accounts, by_window, hot):
    print("\n### cost per event of asof\n\n| by | value | CPU ns | wall ns | peak MiB |\n|---|---:|---:|---:|---:|")
    for by, part in [("accounts", by_accounts), ("longest window, minutes", by_window), ("account", hot)]:
        for value, *figures in part:
            shown = value if isinstance(value, str) else f"{value:,}"
            print(f"| {by} | {shown} | " + " | ".join(map(str, figures)) + " |")
    factors = {
        "10 k to 10 M accounts": (spread(by_accounts), ACCOUNTS_FACTOR_MAX),
        "5 minutes to 90 days": (spread(by_window), WINDOW_FACTOR_MAX),
        "hot account": (hot[1][1] / hot[0][1], HOT_FACTOR_MAX),
    }
    print()
    for name, (factor, factor_max) in factors.items():
        print(f"{name}: factor {factor:.2f}, at most {factor_max} {'kept' if factor <= factor_max else 'NOT KEPT'}")
    return all(factor <= factor_max for factor, factor_max in factors.values())


def spread(rows):
    costs = [row[1] for row in rows]
    return max(costs) / min(costs)


def plot(by_accounts, by_window, hot):
    import matplotlib  # only now: the runner stays small while it measures

    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), sharey=True)
    for axis, rows, label in [(axes[0], by_accounts, "accounts"), (axes[1], by_window, "longest window, minutes")]:
        axis.plot([row[0] for row in rows], [row[1] for row in rows], marker="o", label="CPU")
        axis.plot([row[0] for row in rows], [row[2] for row in rows], marker="o", label="wall, two threads")
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.legend()
    axes[2].bar([row[0] + " account" for row in hot], [row[1] for row in hot])
    axes[0].set_ylabel("ns per event")
    axes[0].set_ylim(bottom=0)
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.suptitle("asof history --every-event, ten features over three windows")
    figure.tight_layout()
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGE, dpi=120)
    print(f"plot: {IMAGE.relative_to(BENCH.parent)}")
