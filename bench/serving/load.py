"""Runs the load generator, crates/server/examples/open_loop, and puts several runs of it together."""

import json
import statistics
import subprocess
import time

# Counts are added up over the runs, everything else is the median.
COUNTS = {"sent", "answered", "errors", "unanswered", "broken", "warm_up_errors"}
SPREAD = ["rate", "p50_us", "p99_us", "p999_us"]


class Load:
    """What to ask of which service, from how many connections."""

    def __init__(self, open_loop, bodies, service, connections=16):
        self.open_loop, self.bodies, self.service, self.connections = open_loop, bodies, service, connections

    def run(self, server, rate, duration_s, warm_up_s, more=()):
        """One run: what the generator reports, and how many cores the server kept busy. `rate` is requests per second or `max`, the closed loop."""
        path = f"/v1/services/{self.service}/features"
        return generated(self.open_loop, server, path, [
            "--bodies", self.bodies, "--connections", self.connections, "--rate", rate,
            "--duration", duration_s, "--warm-up", warm_up_s, *more,
        ])


def generated(open_loop, server, path, options):
    """One run of the generator: its report, and how many cores the server kept busy meanwhile."""
    command = [open_loop, "--address", f"127.0.0.1:{server.port}", "--path", path, *options]
    began, cpu_s = time.monotonic(), server.cpu_s()
    ended = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"the load generator ended with {ended.returncode}; the server says:\n{server.said()}")
    cores = (server.cpu_s() - cpu_s) / (time.monotonic() - began)
    return {**json.loads(ended.stdout), "server_cores": round(cores, 2)}


def median_of(reports):
    """One report of several runs of the same load, with the range of what matters in `from_to`."""
    merged = {
        name: sum(report[name] for report in reports) if name in COUNTS else statistics.median(report[name] for report in reports)
        for name in reports[0] if name != "statuses"
    }
    merged["statuses"] = {}
    for report in reports:
        for status, count in report["statuses"].items():
            merged["statuses"][status] = merged["statuses"].get(status, 0) + count
    merged["from_to"] = {name: [min(r[name] for r in reports), max(r[name] for r in reports)] for name in SPREAD}
    merged["runs"] = len(reports)
    return merged


def print_head(title):
    print(f"\n### {title}\n")
    print("| load | asked/s | answered/s | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms | lag p99 ms | cores | failed |")
    print("|---|" + "---:|" * 10, flush=True)


def print_row(name, rate, report):
    asked = rate if isinstance(rate, str) else f"{rate:,}"
    times = [f"{report[of] / 1000:.3f}" for of in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us", "lag_p99_us")]
    print(f"| {name} | {asked} | {report['rate']:,.0f} | {' | '.join(times)} | {report['server_cores']:.2f} | {failures(report)} |", flush=True)


def failures(report):
    """Requests without a good answer, in the warm-up or after it."""
    return report["errors"] + report["unanswered"] + report["warm_up_errors"]


def write_bodies(path, requests):
    """One JSON body a line; each request is a list of rows."""
    path.write_text("".join(json.dumps({"rows": rows}, separators=(",", ":")) + "\n" for rows in requests))
    return path
