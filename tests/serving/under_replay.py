"""Answers while a replay runs, against history over exactly the inputs that each answer's position names.

Two replays of an example run, each over some seconds:
  - with the horizon that is the default, asked as of now;
  - with a horizon of sixty days, also asked as of earlier and as of later than now. (A year within seconds passes an hour in
    a fraction of a millisecond, before a client has read the answer that tells it what now is; sixty days take it more than
    a second.)
A position p of a stream means the first p rows of its file by event time and row number, so history runs over a copy of
these rows alone. Streams that an answer does not read have no rows in the copy.
"""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from running_server import Server, instant_text

ASK_EVERY_S = 0.3
ROWS = 500
HALF_AN_HOUR_US = 1_800_000_000
DAY_US = 86_400_000_000
REPLAYS = {"default": None, "wide": '[state]\nas_of_horizon = "60d"\n'}
# How many answers of each kind are compared with history, for an example.
KINDS = {"now": 12, "later": 6, "earlier": 6}


@dataclass
class Captured:
    kind: str
    target: object
    places: list
    answer: object


def check(project, seconds, rng, pool, findings, work):
    with ThreadPoolExecutor(len(REPLAYS)) as both:
        seeds = {horizon: rng.randrange(2**32) for horizon in REPLAYS}
        replays = [both.submit(replay, project, horizon, seconds, seeds[horizon], findings, work) for horizon in REPLAYS]
        captured = [one for replayed in replays for one in replayed.result()]
    chosen = [one for kind, count in KINDS.items() for one in choose(project, captured, kind, count, rng, findings)]
    print(f"{project.name}: {len(captured)} answers under replay, {len(chosen)} of them against history", flush=True)

    def judge(numbered):
        number, one = numbered
        compare_with_history(project, one, work / f"{project.name}_position_{number}", findings)

    list(pool.map(judge, enumerate(chosen)))


def replay(project, horizon, seconds, seed, findings, work):
    """Runs a replay from beginning to end and keeps what it answered on the way."""
    rng = random.Random(seed)
    totals = {name: len(times_us) for name, times_us in project.times_us.items()}
    rates = {name: max(1, round(total / seconds)) for name, total in totals.items()}
    folder = project.write(work / f"{project.name}_{horizon}", rates=rates)
    if settings := REPLAYS[horizon]:
        (folder / "asof.toml").write_text(settings)
    captured, last = [], {}
    with Server(project.asof, folder) as server:
        first = project.targets[0]
        # Before the first event, now is 1970.
        server.wait_for(lambda: server.ask_once(first, first.texts[:1]).as_of_us > 0, "the first event")
        deadline = time.monotonic() + 4 * seconds
        while any(last.get(name, 0) < total for name, total in totals.items()):
            if time.monotonic() > deadline:
                findings.tell(f"{project.name}: a replay of {seconds} s has not ended after {4 * seconds} s: {last}")
                break
            round_begins = time.monotonic()
            for target in project.targets:
                answers = ask(project, server, target, horizon, rng, findings)
                captured.extend(answers)
                for one in answers:
                    follow(project, one, last, findings)
            time.sleep(max(0, ASK_EVERY_S - (time.monotonic() - round_begins)))
    return captured


def ask(project, server, target, horizon, rng, findings):
    """Some rows as of now, and then, where the horizon is wide enough for it, as of earlier or later."""
    places = sorted(rng.sample(range(len(target.texts)), min(ROWS, len(target.texts))))
    rows = [target.texts[place] for place in places]
    now = server.ask_once(target, rows)
    captured = [Captured("now", target, places, now)]
    if horizon == "wide":
        moved_us = rng.choice([-HALF_AN_HOUR_US, -rng.randrange(20 * DAY_US), rng.randrange(5 * DAY_US), 5 * DAY_US])
        other = server.ask_once(target, rows, now.as_of_us + moved_us)
        findings.claim(other.as_of_us == now.as_of_us + moved_us, f"{project.name} {target.name}: asked as of "
                       f"{instant_text(now.as_of_us + moved_us)}, answered as of {instant_text(other.as_of_us)}")
        # The replay has gone on in between, perhaps beyond what was later.
        newest_us = max(filter(None, other.newest_us.values()), default=other.as_of_us)
        captured.append(Captured("later" if other.as_of_us > newest_us else "earlier", target, places, other))
    return captured


def follow(project, one, last, findings):
    """Positions never go back, and neither does now."""
    steps = dict(one.answer.position)
    if one.kind == "now":
        steps["now"] = one.answer.as_of_us
        newest_us = max(filter(None, one.answer.newest_us.values()), default=one.answer.as_of_us)
        findings.claim(newest_us <= one.answer.as_of_us, f"{project.name} {one.target.name}: now lies before the newest event")
    for name, place in steps.items():
        findings.claim(place >= last.get(name, 0), f"{project.name}: `{name}` went back from {last.get(name)} to {place}")
        last[name] = place


def choose(project, captured, kind, count, rng, findings):
    """Answers of that kind from the middle of the replay: of each target in turn, until there are enough."""
    def in_the_middle(one):
        return any(0 < place < len(project.times_us[name]) for name, place in one.answer.position.items())

    waiting = {target.name: [] for target in project.targets}
    for one in captured:
        if one.kind == kind and in_the_middle(one):
            waiting[one.target.name].append(one)
    names = [name for name, some in waiting.items() if some]
    rng.shuffle(names)
    chosen = []
    while names and len(chosen) < count:
        name = names.pop(0)
        chosen.append(waiting[name].pop(rng.randrange(len(waiting[name]))))
        if waiting[name]:
            names.append(name)
    findings.claim(len(chosen) == count, f"{project.name}: only {len(chosen)} answers as of {kind} in the middle of a replay")
    return chosen


def compare_with_history(project, one, folder, findings):
    answer, target = one.answer, one.target
    where = f"{project.name} at {answer.position} as of {one.kind}, {instant_text(answer.as_of_us)}"
    project.write(folder, position=answer.position)
    rows = target.rows.take(one.places)
    history = project.history(target, [(rows, answer.as_of_us)], folder, folder)
    findings.compare(where, target, rows, answer.rows, history)
