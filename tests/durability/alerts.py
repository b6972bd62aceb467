"""The alerts and the dashboard of deploy/, against promtool, a real server and a real Prometheus.

    target/venv/bin/python tests/durability/alerts.py [--asof target/release/asof]

| Step | Holds |
|---|---|
| files | promtool takes the configuration and the rules |
| cases | every alert fires on the series of alert_cases.py on which it must, and on none of the others (`promtool test rules`) |
| words | every alert has its texts and its section of docs/runbook.md; every metric named is in a real `/metrics` |
| fires | with small thresholds: silent while events are good; late and rejected events, a stream that stands still fire |
| told | with thresholds that anything exceeds, every alert fires and its texts are whole: it fits the real labels |
| end | a server that ended fires |

What tells of topics is checked by tests/kafka/check_runbook.py instead, with a real broker; files, cases and texts are here.

Needs the binary and the Debian package `prometheus`, which root gets if it is missing. Exit 1 if anything does not hold.
"""

import argparse
import copy
import json
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(REPOSITORY / "tests" / "serving"))  # findings.py, running_server.py

import live_project
import prometheus
from alert_cases import CASES, unit_tests
from findings import Findings
from live_server import LiveServer
from prometheus import Prometheus, promtool
from running_server import Defect
from same_answers import now_us

DEPLOY = REPOSITORY / "deploy"
RULES = DEPLOY / "prometheus" / "asof.rules.yml"
RUNBOOK = REPOSITORY / "docs" / "runbook.md"
RUNBOOK_URL = "https://github.com/asof/asof/blob/main/docs/runbook.md#"
SETTINGS = {"ASOF_CHECKPOINT__INTERVAL": "500ms"}
# Seconds and shares under which the conditions can be made while somebody waits.
SMALL = {"AsofStreamStale": "8", "AsofLateShare": "0.2", "AsofRejectedShare": "0.2"}
RANGE_S, QUIET_S, FIRE_S_MAX = 10, 6, 60
# What no number makes true: `up` is 0 when the server is gone.
BY_ITS_END = "AsofDown"
SECOND_US = 1_000_000
METRIC = re.compile(r"\basof_[a-z0-9_]+")
OF_TOPICS = re.compile("asof_(kafka|sink)_")


def main():
    options = arguments()
    prometheus.require()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="asof-alerts-") as work:
        work = Path(work)
        try:
            check_files(work, findings)
            folder = live_project.write(work / "live")
            with LiveServer(options.asof, folder, settings=SETTINGS) as server:
                with Prometheus(work / "prometheus", server.port) as watcher:
                    check_live(server, watcher, findings)
        except Defect as defect:
            findings.tell(str(defect))
    print(f"\n{findings.claims} claims checked, {findings.wrong} do not hold")
    sys.exit(1 if findings.wrong or not findings.claims else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    options = parser.parse_args()
    options.asof = options.asof.resolve()
    if not options.asof.exists():
        sys.exit(f"no asof at {options.asof}: build it with `cargo build --release`, or name it with --asof")
    return options


def check_files(work, findings):
    tests = work / "cases.yml"
    tests.write_text(json.dumps(unit_tests(RULES)))
    for what, arguments in [
        ("configuration", ("check", "config", DEPLOY / "prometheus" / "prometheus.yml")),
        ("rules", ("check", "rules", RULES)),
        ("cases", ("test", "rules", tests)),
    ]:
        told = promtool(*arguments)
        findings.claim(told is None, f"promtool is not content with the {what}:\n{told}")
    quiet = sum(len(case.quiet) for case in CASES.values())
    print(f"files and cases: {len(CASES)} alerts, {quiet} series on which they must not fire", flush=True)


def check_live(server, watcher, findings):
    groups = rules_of(watcher)
    source = Source(server)
    check_words(server, watcher, groups, source, findings)
    check_fires(watcher, groups, source, findings)
    check_told(server, watcher, groups, source, findings)
    server.stop()
    fires = lambda: BY_ITS_END in {name for name, _, _ in watcher.firing()}
    findings.claim(watcher.wait_for(fires, f"{BY_ITS_END} to fire", FIRE_S_MAX), BY_ITS_END)
    print(f"end: {BY_ITS_END}", flush=True)


def rules_of(watcher):
    """The committed rules as Prometheus understands them, in the shape of a file of rules."""
    watcher.rules.write_text(RULES.read_text())
    watcher.process.send_signal(signal.SIGHUP)
    groups = watcher.wait_for(watcher.groups, "to load the rules")
    return [
        {"name": group["name"], "rules": [
            {"alert": rule["name"], "expr": rule["query"], "labels": rule["labels"], "annotations": rule["annotations"]}
            for rule in group["rules"]
        ]}
        for group in groups
    ]


class Source:
    """Events of both streams, and reads, so that every metric has something to tell."""

    def __init__(self, server):
        self.server, self.number = server, 0

    def send(self, good=20, late=0, rejected=0):
        now = now_us()
        times = [now] * good + [now - 3_600 * SECOND_US] * late + [now] * rejected
        rows = []
        for place, ts in enumerate(times):
            self.number += 1
            amount = -1 if place >= good + late else 3
            names = {"payment_id": str(self.number), "client": 0, "number": self.number, "account_id": place, "merchant": "m"}
            rows.append(names | {"amount": amount, "ts": ts})
        for stream in live_project.WHOLE:
            status, answer = self.server.post(stream, "\n".join(map(json.dumps, rows)))
            expected = (200, good, late, rejected)
            told = (status, *(answer.get(name) for name in ("accepted", "late", "rejected")))
            if told != expected:
                raise Defect(f"{stream}: status, accepted, late, rejected are {told}, expected {expected}: {answer}")
        self.server.ask("view", "account_payments", [{"account_id": 1}])
        self.server.ask("service", "account_v1", [{"account_id": 1, "amount": 1}])

    def send_for(self, seconds, **what):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.send(**what)
            time.sleep(0.3)


def check_words(server, watcher, groups, source, findings):
    """Texts, runbook, metrics, and the dashboard's queries."""
    source.send_for(3)
    rules = [rule for group in groups for rule in group["rules"]]
    differing = {rule["alert"] for rule in rules} ^ set(CASES)
    findings.claim(not differing, f"{sorted(differing)} are alerts without a case, or cases without an alert")
    check_texts(rules, findings)
    panels = queries(json.loads((DEPLOY / "grafana" / "asof.json").read_text()))
    named = [(rule["alert"], rule["expr"]) for rule in rules] + panels
    check_metrics(server, [(where, query) for where, query in named if not OF_TOPICS.search(query)], findings)
    for title, query in panels:
        watcher.query(query)  # refused ones are a Defect
        findings.claim(True, title)
    print(f"words: {len(rules)} alerts, {len(panels)} queries of the dashboard", flush=True)


def check_texts(rules, findings):
    sections = {line.lstrip("# ").strip().lower() for line in RUNBOOK.read_text().splitlines() if line.startswith("#")}
    for rule in rules:
        alert, texts, severity = rule["alert"], rule["annotations"], rule["labels"].get("severity")
        findings.claim(set(texts) == {"summary", "description", "runbook_url"}, f"{alert} has {sorted(texts)}")
        findings.claim(severity in ("warning", "critical"), f"{alert} is of severity {severity}")
        anchor = texts.get("runbook_url", "").removeprefix(RUNBOOK_URL)
        findings.claim(anchor == alert.lower() and anchor in sections, f"{alert}: no section `{anchor}` of docs/runbook.md")


def queries(dashboard):
    """(panel's title, query) with the variables put in."""
    return [
        (f"panel `{panel['title']}`", target["expr"].replace("$__rate_interval", "5s").replace("$instance", ".*"))
        for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]


def check_metrics(server, named, findings):
    exist = set(re.findall(r"^(asof_\w+)", server.call("GET", "/metrics")[1], re.M))
    for where, query in named:
        missing = set(METRIC.findall(query)) - exist
        findings.claim(not missing, f"{where} names {sorted(missing)}, which /metrics does not have")


def check_fires(watcher, groups, source, findings):
    """Each condition is brought about; before that the alert is silent."""
    small = [rule for rule in changed(groups, SMALL) if rule["alert"] in SMALL]
    watcher.load([{"name": "small", "rules": small}])
    source.send_for(QUIET_S)
    findings.claim(not watcher.firing(), f"good events make alerts fire: {watcher.firing()}")
    for alert, what in [("AsofLateShare", {"late": 20}), ("AsofRejectedShare", {"rejected": 20})]:
        wait_firing(watcher, alert, lambda: source.send(**what), findings)
    # Silent again when events are good again, so that it was the events that made it fire.
    source.send_for(RANGE_S + QUIET_S)
    findings.claim(not watcher.firing(), f"alerts go on firing after their cause is gone: {watcher.firing()}")
    wait_firing(watcher, "AsofStreamStale", lambda: None, findings)


def wait_firing(watcher, alert, meanwhile, findings):
    """Until it fires for both streams."""
    def streams():
        meanwhile()
        return {labels["stream"] for name, labels, _ in watcher.firing() if name == alert} == set(live_project.WHOLE)

    began = time.monotonic()
    findings.claim(watcher.wait_for(streams, f"{alert} to fire", FIRE_S_MAX), alert)
    print(f"fires: {alert}, after {time.monotonic() - began:.0f} s", flush=True)


def check_told(server, watcher, groups, source, findings):
    """Every alert over the real series, with a threshold that anything exceeds."""
    everything = changed(groups, {rule["alert"]: "-1e18" for group in groups for rule in group["rules"]})
    here = [rule for rule in everything if rule["alert"] != BY_ITS_END and not OF_TOPICS.search(rule["expr"])]
    watcher.load([{"name": "told", "rules": here}])
    expected = {rule["alert"] for rule in here}

    def all_fire():
        source.send(good=5, late=2, rejected=2)
        return {name for name, _, _ in watcher.firing()} >= expected

    try:
        watcher.wait_for(all_fire, "all alerts to fire", FIRE_S_MAX)
    except Defect:
        silent = expected - {name for name, _, _ in watcher.firing()}
        findings.tell(f"the conditions of {sorted(silent)} have no value on a real server")
    for name, _, texts in watcher.firing():
        findings.claim(not broken(texts), f"{name} is told as {broken(texts)}")
    watcher.load([{"name": "end", "rules": [rule for rule in changed(groups, {}) if rule["alert"] == BY_ITS_END]}])
    print(f"told: {len(expected)} alerts", flush=True)


def broken(texts):
    """Those whose labels or values are not there."""
    return [text for text in texts.values() if "no value" in text or "<error" in text or "{{" in text or "  " in text]


def changed(groups, thresholds):
    """The rules, without waiting, over short ranges, with other numbers behind their last comparison."""
    rules = copy.deepcopy([rule for group in groups for rule in group["rules"]])
    for rule in rules:
        rule["expr"] = re.sub(r"\[\d+[mh]\]", f"[{RANGE_S}s]", rule["expr"])
        if (number := thresholds.get(rule["alert"])) is not None:
            rule["expr"], count = re.subn(r"> [\d.e+]+$|(?<=< )[\d.]+$", f"> {number}", rule["expr"])
            if count != 1 and rule["alert"] != BY_ITS_END:
                raise Defect(f"the condition of {rule['alert']} does not end in a comparison with a number: {rule['expr']}")
    return rules


if __name__ == "__main__":
    main()
