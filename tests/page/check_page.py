"""The page at `/` in a real headless Chromium, before a real `asof run`.

    python3 tests/page/check_page.py                         checks, one line each; exit 1 at the first that fails
    python3 tests/page/check_page.py --screenshot FILE.png   only a picture: examples/flights replayed, 1280 wide

The checks run over a project made for them (project.py): a stream of 50 events a second in which some are late,
repeated or refused. The numbers on the page are compared with a recount of the file's first rows, at the position that
the page itself shows. As root the Debian packages of the browser are installed if they are missing.
"""

import argparse
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import browser as chromium
import project as made

REPOSITORY = Path(__file__).resolve().parent.parent.parent
FLIGHTS = REPOSITORY / "examples" / "flights"
SERVER_SECONDS = 60  # until it listens, and until it has stopped
PICTURE_UNTIL = datetime(2013, 12, 23, 22)  # late afternoon in New York, before the holidays
REPLAY_SECONDS = 300  # examples/flights at full speed, on a slow machine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    parser.add_argument("--screenshot", type=Path, metavar="FILE", help="save a picture of examples/flights instead")
    options = parser.parse_args()
    if not options.asof.exists():
        chromium.fail(f"no asof at {options.asof}: build it with `cargo build --release`, or name it with --asof")
    chromium.require()
    with tempfile.TemporaryDirectory() as scratch:
        page = chromium.Browser()
        try:
            if options.screenshot:
                photograph(options.asof.resolve(), page, Path(scratch), options.screenshot)
            else:
                Check(options.asof.resolve(), page, Path(scratch)).run()
        except AssertionError as failure:
            sys.exit(f"FAILED: {failure}")
        finally:
            page.close()


class Server:
    """`asof run` on a port of 127.0.0.1, a free one unless told; stops when the block ends."""

    def __init__(self, asof, folder, scratch, port=0, *options):
        self.log = scratch / "asof.log"
        with self.log.open("w") as log:
            command = [asof, "run", folder, "--listen", f"127.0.0.1:{port}", *options]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.url = None

    def __enter__(self):
        until = time.monotonic() + SERVER_SECONDS
        while self.url is None:
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                raise AssertionError(f"`asof run` does not listen:\n{self.log.read_text()}")
            told = re.search(r"http://127\.0\.0\.1:\d+/", self.log.read_text())
            self.url = told and told[0]
            time.sleep(0.05)
        return self

    @property
    def port(self):
        return int(self.url.rstrip("/").rpartition(":")[2])

    def stop(self):
        """Asks it to end as Ctrl-C does; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(SERVER_SECONDS)

    def __exit__(self, *_):
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()


class Check:
    """The steps, in their order; each prints what it found."""

    def __init__(self, asof, page, scratch):
        self.asof, self.page, self.scratch = asof, page, scratch
        self.project = made.Project(scratch / "payments")

    def run(self):
        with Server(self.asof, self.project.folder, self.scratch) as server:
            self.url = server.url
            self.page.open(self.url)
            steps = [
                self.policy, self.first_answer, self.counts_grow, self.counts_are_right, self.reasons, self.typed_lookup,
                self.live_changes, self.markup_stays_text, self.members_in_order, self.past, self.unknown_entity, self.null_and_empty,
                self.view_by_button, self.link, self.curl, self.names_for_all, self.narrow_and_dark, self.no_complaints, self.refusals,
            ]
            for step in steps:
                self.told(step)
            self.told(lambda: self.stops(server))
        with Server(self.asof, self.project.folder, self.scratch, server.port):
            self.told(self.comes_back)
        self.told(self.refused_ports)
        print("the page holds")

    def told(self, step):
        began = time.monotonic()
        print(f"{step()} ({time.monotonic() - began:.1f} s)", flush=True)

    # ------------------------------------------------------------------------------------------------- what is served

    def policy(self):
        with urllib.request.urlopen(self.url) as response:
            policy, text = response.headers["content-security-policy"] or "", response.read().decode()
        for rule in ("default-src 'none'", "connect-src 'self'(;|$)", "img-src [^;]*data:", "script-src ", "style-src "):
            assert re.search(rule, policy), f"the content security policy `{policy}` has no `{rule}`"
        assert "http" not in policy and "*" not in policy, f"the content security policy `{policy}` lets others in"
        outside = re.findall(r"""(?:src|href)=["']?(?:https?:)?//[^"'\s>]+""", text)
        assert not outside, f"the page reaches outside: {outside}"
        return f"served with the policy: {policy}"

    # -------------------------------------------------------------------------------------------------------- streams

    def first_answer(self):
        """Without a link the first service is asked for an entity of its own."""
        answer = self.page.until(self.page.answer, "the first answer is shown")
        assert re.match(r"risk_v1  account=(alice|bob|carol|dave)  amount=NULL$", answer["title"]), answer["title"]
        return f"opens with {answer['title']}"

    def counts_grow(self):
        first = self.page.until(lambda: self.page.stream("payments"), "the stream is listed")
        used = lambda: number(self.page.stream("payments")["Used"])
        later = self.page.until(lambda: used() > number(first["Used"]) + 50 and self.page.stream("payments"), "events are counted")
        rate = self.page.until(lambda: number(self.page.stream("payments")["Events/s"]), "a rate is shown")
        assert 25 <= rate <= 100, f"{rate} events a second are shown of a stream of 50"
        assert later["Phase"] == "replaying" and later["Freshness"] == "0 s", later
        return f"used events went from {first['Used']} to {later['Used']}, {rate:.0f} a second"

    def counts_are_right(self):
        some = lambda row: row if all(number(row[title]) for title in ("Late", "Duplicate", "Rejected")) else None
        row = self.page.until(lambda: some(self.page.stream("payments")), "late, duplicate and rejected events are counted")
        position = number(row["In"])
        shown = {title.lower(): number(row[title]) for title in ("Used", "Late", "Duplicate", "Rejected")}
        expected = self.project.counts(position)
        assert shown == expected, f"after {position} rows the page shows {shown}, a recount {expected}"
        newest = self.project.newest(position)
        assert time_of(row["Newest event"]) == newest, f"{row} but the newest event is of {newest}"
        assert time_of(row["Watermark"]) == newest - timedelta(seconds=5), f"{row}: not five seconds behind {newest}"
        return f"after {position} rows: {shown}"

    def reasons(self):
        self.page.find("#streams button.name").click()
        text = lambda: self.page.text("#streams tr.detail:not([hidden])")
        self.page.until(lambda: "amount" in text() and "late" in text(), "the reasons are listed")
        table = [row.text for row in self.page.all("#streams tr.detail table tbody tr")]
        self.page.find("#streams button.name").click()
        self.page.until(lambda: not text(), "the details close")
        return f"reasons on demand: {' | '.join(table)}"

    # --------------------------------------------------------------------------------------------------------- lookups

    def typed_lookup(self):
        self.page.type(self.page.column("account"), "alice")
        self.page.type(self.page.column("amount"), "12.5", enter=True)
        answer = self.shown("risk_v1  account=alice  amount=12.5")
        self.compare("alice", answer)
        share = float(answer["values"]["amount_share"])
        assert share == 12.5 / float(answer["values"]["spend_1h"]), f"amount_share is {share}"
        return f"typed and Enter: {answer['values']}"

    def live_changes(self):
        """Each answer is recounted; the document stays the same one."""
        self.page.run("window.stays = true")
        before, seen = self.page.answer(), []
        for _ in range(3):
            last = seen[-1] if seen else before
            self.page.until(lambda: self.page.answer()["values"]["payments_1h"] != last["values"]["payments_1h"], "a feature changes")
            seen.append(self.page.answer())
            self.compare("alice", seen[-1])
        assert self.page.run("return window.stays"), "the document was loaded anew"
        assert self.page.all("#values td.changed"), "no changed value is marked"
        self.page.find("#live").click()
        counts = [one["values"]["payments_1h"] for one in [before, *seen]]
        return f"live: payments_1h {' → '.join(counts)}, changes marked, no reload"

    def markup_stays_text(self):
        assert self.page.answer()["values"][made.NOTE_FEATURE] == made.NOTE, self.page.answer()
        elements = self.page.run("return document.querySelectorAll('#answer img, #values b, #streams img, #objects img').length")
        assert (elements, self.page.driver.title) == (0, "Asof"), f"{elements} elements, title {self.page.driver.title}"
        return "markup in a value and in a feature's name is shown as text"

    def members_in_order(self):
        """A histogram is shown in the order of its values, which an object of JavaScript would not keep."""
        written = '{"h":{"-5":1,"10":2,"9":3,"a\\":":4},"n":[{"2":"b","1":null}]}'
        shown = self.page.run("return valueText(parse(arguments[0]))", written)
        expected = '{"h": {"-5": 1, "10": 2, "9": 3, "a\\":": 4}, "n": [{"2": "b", "1": NULL}]}'
        assert shown == expected, f"{written} is shown as {shown}"
        return f"a histogram keeps its order: {shown}"

    def past(self):
        """An instant of the past answers what was true then, again and again while events go on."""
        then = made.START + timedelta(seconds=20, microseconds=1)
        self.page.find("#live").click()
        self.page.type("#as-of", made.instant(then), enter=True)
        first = self.page.until(lambda: self.as_of(then), "the past is answered")
        self.compare("alice", first)
        later = self.page.until(lambda: self.later(self.as_of(then), first), "it is asked again")
        self.compare("alice", later)
        assert later["values"] == first["values"], f"the past changed from {first} to {later}"
        self.page.type("#as-of", "", enter=True)
        self.page.until(lambda: time_of(self.page.answer()["as_of"]) > then, "now is asked again")
        positions = f"{first['positions']} and {later['positions']}"
        return f"as of {then}: payments_1h {first['values']['payments_1h']}, the same at positions {positions}"

    def as_of(self, then):
        answer = self.page.answer()
        return answer if answer and time_of(answer["as_of"]) == then else None

    def later(self, answer, first):
        return answer if answer and answer["positions"]["payments"] > first["positions"]["payments"] else None

    def unknown_entity(self):
        stranger = "<script>document.title='broken'</script>"
        self.page.type(self.page.column("account"), stranger, enter=True)
        answer = self.shown(f"risk_v1  account={stranger}  amount=12.5")
        assert answer["values"]["payments_1h"] == "0" and answer["values"]["spend_1h"] == "NULL", answer
        assert answer["known"].endswith(": unknown") and self.page.driver.title == "Asof", answer
        return f"an entity never seen: {answer['known']}"

    def null_and_empty(self):
        """An empty number is NULL; an empty text is a text until it is marked NULL."""
        self.page.type(self.page.column("amount"), "", enter=True)
        self.page.type(self.page.column("account"), "", enter=True)
        self.shown("risk_v1  account=  amount=NULL")
        assert '{"account":"","amount":null}' in self.page.text("#curl"), self.page.text("#curl")
        self.page.find('input[aria-label="account is NULL"]').click()
        self.page.find("#form button.main").click()
        self.shown("risk_v1  account=NULL  amount=NULL")
        assert '{"account":null,"amount":null}' in self.page.text("#curl"), self.page.text("#curl")
        return "NULL and the empty text are told apart"

    def view_by_button(self):
        self.page.find('#views button[aria-label="Look up in account_activity"]').click()
        answer = self.page.until(lambda: self.titled("account_activity"), "the view is asked for a recent entity")
        account = answer["title"].partition("account=")[2]
        self.compare(account, answer)
        return f"a view by its button: {answer['title']}"

    def link(self):
        self.page.open(f"{self.url}#service=risk_v1&account=bob&amount=10")
        answer = self.shown("risk_v1  account=bob  amount=10")
        self.compare("bob", answer)
        then = made.instant(made.START + timedelta(seconds=5))
        self.page.run("location.hash = arguments[0]", f"view=account_activity&as_of={quote(then)}&account=carol")
        answer = self.shown("account_activity  account=carol")
        assert time_of(answer["as_of"]) == made.START + timedelta(seconds=5), answer
        self.compare("carol", answer)
        self.page.find("#form button.main").click()
        written = self.page.run("return decodeURIComponent(location.hash)")
        assert written == f"#view=account_activity&as_of={then}&account=carol", written
        return f"links open lookups, and a lookup becomes the link {written}"

    def curl(self):
        """The command that is shown answers in a shell what the page shows."""
        ran = subprocess.run(["sh", "-c", self.page.text("#curl")], capture_output=True, text=True, timeout=SERVER_SECONDS)
        assert ran.returncode == 0, f"{ran}"
        answer, shown = json.loads(ran.stdout), self.page.answer()
        assert (answer["view"], time_of(instant_of(answer["as_of"]))) == ("account_activity", time_of(shown["as_of"])), answer
        values = dict(zip(answer["columns"], answer["rows"][0]))
        assert values["last_reference"] == int(shown["values"]["last_reference"]), f"{values} but the page shows {shown}"
        return f"the command: {self.page.text('#curl')}"

    def titled(self, start):
        answer = self.page.answer()
        return answer if answer and answer["title"].startswith(start) else None

    def shown(self, title):
        same = lambda answer: answer if answer and answer["title"] == title else None
        return self.page.until(lambda: same(self.page.answer()), f"the answer to `{title}` is shown")

    def compare(self, account, answer):
        """The features shown are those of a recount at the position and the instant shown."""
        expected = self.project.features(account, answer["positions"]["payments"], time_of(answer["as_of"]))
        for feature, value in expected.items():
            shown = answer["values"][feature]
            same = shown == "NULL" if value is None else float(shown) == value if feature == "spend_1h" else shown == str(value)
            assert same, f"{feature} of {account} is shown as {shown}, a recount gives {value}: {answer}"

    # ------------------------------------------------------------------------------------------------------- every reader

    def names_for_all(self):
        """What can be reached by the keyboard has a name, and so has each column of a table."""
        controls = [one for one in self.page.all("a, button, input, select") if one.is_displayed()]
        nameless = [one.get_attribute("outerHTML") for one in controls if not one.accessible_name.strip()]
        assert not nameless, f"without a name for a screen reader: {nameless}"
        unmarked = self.page.run("return [...document.querySelectorAll('th')].filter((head) => !head.scope).length")
        tables = self.page.run("""
            const isNamed = (table) => table.ariaLabel || table.getAttribute("aria-labelledby");
            return [...document.querySelectorAll("table[id], table.values")].filter((table) => !isNamed(table)).length;
        """)
        assert (unmarked, tables) == (0, 0), f"{unmarked} heads without scope, {tables} tables without a name"
        return f"{len(controls)} controls have names"

    def narrow_and_dark(self):
        ground = lambda: self.page.run("return getComputedStyle(document.body).backgroundColor")
        light = ground()
        self.page.prefer("dark")
        assert ground() != light, f"dark and light are both {light}"
        self.page.prefer("light")
        for width in (400, 1280):
            self.page.resize(width, chromium.HEIGHT)
            wide = self.page.run("return document.documentElement.scrollWidth")
            assert wide <= width, f"at a width of {width} the page is {wide} wide"
        return "dark and light, 400 and 1280 wide"

    # ------------------------------------------------------------------------------------------------------------ errors

    def no_complaints(self):
        """Until here nothing may have been logged at all."""
        logged = self.page.console()
        assert not logged, f"the browser logged {logged}"
        return "nothing in the browser's log"

    def refusals(self):
        self.page.open(f"{self.url}#service=risk_v1&account=alice")
        self.shown("risk_v1  account=alice  amount=NULL")
        self.page.type(self.page.column("amount"), "twelve", enter=True)
        wrong = self.problem("amount", "twelve")
        self.page.type(self.page.column("amount"), "12.5")
        self.page.type("#as-of", "1990-01-01T00:00:00Z", enter=True)
        early = self.problem("earliest", "payments")
        self.page.open(f"{self.url}#service=risk_v2&account=alice")
        unknown = self.problem("risk_v2", "risk_v1")
        self.page.open(f"{self.url}#service=risk_v1&acount=alice")
        stray = self.problem("acount", "account")
        logged = [one for one in self.page.console() if not re.search(r"/features - Failed to load resource.* 4\d\d ", one["message"])]
        assert not logged, f"the browser logged {logged}"
        return f"errors as the server says them: {' / '.join([wrong, early, unknown, stray])}"

    def problem(self, *words):
        """The error that is shown, with its hint; an answer is not shown beside it."""
        text = lambda: self.page.find("#problem").text
        self.page.until(lambda: all(word in text() for word in words), f"an error names {words}")
        assert "hint: " in text(), f"no hint in `{text()}`"
        assert self.page.answer() is None, "an answer is shown beside an error"
        return text().replace("\n", " ")

    # ---------------------------------------------------------------------------------------------------- the server gone

    def stops(self, server):
        self.page.open(f"{self.url}#service=risk_v1&account=alice&amount=1")
        self.shown("risk_v1  account=alice  amount=1")
        code = server.stop()
        assert code == 0, f"`asof run` ended with {code} after Ctrl-C:\n{server.log.read_text()}"
        self.page.until(lambda: "does not answer" in self.page.find("#gone").text, "the page says that the server is gone")
        self.page.until(lambda: self.page.answer()["is_old"], "the last answer is marked as old")
        logged = [one for one in self.page.console() if "net::ERR_" not in one["message"]]
        assert not logged, f"the browser logged {logged}"
        return f"stopped: {self.page.find('#gone').text}"

    def comes_back(self):
        self.page.until(lambda: not self.page.find("#gone").text, "the page finds the server again")
        is_new = lambda answer: answer and not answer["is_old"] and number(answer["values"]["payments_1h"]) > 0
        self.page.until(lambda: is_new(self.page.answer()), "the lookup is answered again")
        self.compare("alice", self.page.answer())
        return "started again: the page goes on by itself"


    def refused_ports(self):
        """Browsers refuse some ports, the default among them: the page is found where `asof run` says."""
        port = next(port for port in (6697, 6679, 6669, 10080) if is_free(port))
        with Server(self.asof, self.project.folder, self.scratch, port) as server:
            said = self.page.attempt(server.url)
            assert "ERR_UNSAFE_PORT" in said, f"browsers open {server.url}, so that this step tests nothing: {said}"
            told = re.search(r"page at (http://127\.0\.0\.1:\d+/)", server.log.read_text())
            assert told, f"`asof run` does not say where the page is:\n{server.log.read_text()}"
            self.page.open(told[1])
            self.page.until(self.page.answer, "the page beside a refused port shows an answer")
            return f"beside {server.url} the page is at {told[1]}"


def is_free(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) != 0


def number(text):
    return float(text.replace(",", "")) if "." in text else int(text.replace(",", "").replace("–", "0"))


def time_of(text):
    return datetime.fromisoformat(text)


def instant_of(text):
    """RFC 3339 in UTC as the page writes it, without the zone."""
    return text.removesuffix("Z")


# ------------------------------------------------------------------------------------------------------------- the picture


def photograph(asof, page, scratch, path):
    """The page over the flights up to a busy afternoon, asked for the last flight that was decided on by then."""
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    spine = parquet.read_table(FLIGHTS / "spine.parquet").sort_by("ts")
    row = compute.sum(compute.less_equal(spine["ts"], PICTURE_UNTIL)).as_py() - 1
    columns = ["origin", "carrier", "dest", "tailnum", "distance", "scheduled_departure"]
    request = {name: text_of(spine[name][row].as_py()) for name in columns}
    with Server(asof, FLIGHTS, scratch, 0, "--until", text_of(PICTURE_UNTIL)) as server:
        until = time.monotonic() + REPLAY_SECONDS
        page.open(f"{server.url}#service=delay_v1&" + "&".join(f"{name}={quote(text)}" for name, text in request.items()))
        while page.text("#phase") != "done":
            assert time.monotonic() < until, f"the replay has not ended after {REPLAY_SECONDS} s: {page.text('body')}"
            time.sleep(0.2)
        page.until(lambda: page.stream("departures")["Events/s"] == "0", "the rates settle")
        page.until(lambda: page.answer()["as_of"].startswith(f"{PICTURE_UNTIL:%Y-%m-%d}"), "the lookup is answered")
        page.until(lambda: not page.run("return document.getAnimations().length"), "changes are no longer marked")
        page.picture(path)
    print(f"saved {path}")


def text_of(value):
    return value.isoformat() + "Z" if isinstance(value, datetime) else str(value)


if __name__ == "__main__":
    main()
