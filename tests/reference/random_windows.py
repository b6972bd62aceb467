"""Random streams through group windows, against plain statements of what has to come out; prints its seed.

    python3 random_windows.py --seed 7 --streams 400      about 3 s

Of a stream that is never idle: nothing is too late, and the closed windows are those of all used events that the last
watermark has passed, whatever the order of arrival. Of any stream: a window that is closed stays as it is; sessions are
those of the events that did not come too late; windows of the clock lack just the events that came too late for them. And a
closed window is what a feature view answers as of its last instant. Windows over the rows of windows, and over those beside the
events, lose no row of a window, and close just when the watermark passes them.
"""
import argparse
import random

import asof_reference as reference
import group_windows
import watermarks

SECOND = 1_000_000
LATENESS = 20 * SECOND
SHAPES = [
    {"kind": "tumble", "size": "15s"},
    {"kind": "tumble", "size": "15s", "offset": "4s"},
    {"kind": "hop", "slide": "5s", "size": "15s"},
    {"kind": "hop", "slide": "7s", "size": "20s", "offset": "3s"},
    {"kind": "cumulate", "step": "5s", "size": "15s"},
    {"kind": "session", "gap": "6s"},
]


def declared(idle_timeout):
    columns = {"id": {"type": "BIGINT"}, "k": {"type": "BIGINT"}, "ts": {"type": "TIMESTAMP", "not_null": True}}
    return {"columns": columns, "primary_key": ["id"], "time": "ts", "lateness": "20s", "idle_timeout": idle_timeout}


def branch(shape):
    return {"from": "s", "window": shape, "group": {"k": "k"}, "columns": {"n": {"agg": "count"}}}


def drawn_events(rng):
    """Around 1970, on whole seconds or one microsecond beside."""
    times = [rng.randrange(-60, 60) * SECOND + rng.choice([0, 0, 1, -1]) for _ in range(rng.randrange(1, 14))]
    return [{"id": place, "k": rng.choice([1, 2, None]), "ts": time} for place, time in enumerate(sorted(times))]


def out_of_order(rng, events, by):
    return sorted(events, key=lambda event: event["ts"] + rng.randrange(0, by))


def awake(rng, events):
    """Arrivals in an order in which none is late."""
    moments = sorted(rng.randrange(1_000, 1_060) * SECOND for _ in events)
    return [{"columns": event, "arrived": moment} for event, moment in zip(out_of_order(rng, events, LATENESS), moments)]


def drowsy(rng, events):
    """Arrivals with pauses, and looks at the clock between them; the last look closes everything."""
    moment, arrivals = 60 * SECOND, []
    for event in out_of_order(rng, events, LATENESS * 3 // 2):
        moment = max(moment, event["ts"]) + rng.choice([0, SECOND, 8 * SECOND])
        if rng.random() < 0.3:
            arrivals.append({"into": watermarks.CLOCK, "columns": {}, "arrived": moment})
            moment += rng.choice([0, 40 * SECOND])
        arrivals.append({"columns": event, "arrived": moment})
    return [*arrivals, {"into": watermarks.CLOCK, "columns": {}, "arrived": moment + 1_000 * SECOND}]


def closed(shape, judged, position=None):
    """The windows that are closed, as comparable parts; and the events that came too late for one."""
    closings, late = reference.closed_windows(branch(shape), (), reference.used_events(judged, position))
    return [(*parts(one.key, one.window, one.rows), one.moment) for one, _ in closings], late


def parts(key, window, rows):
    return (group_windows.key_rank(key), window, tuple(sorted(row.row["id"] for row in rows)))


def of_all(shape, events):
    """The windows of some events, closed or not."""
    return [parts(*one) for one in group_windows.grouped(shape, [((event.row["k"],), event) for event in events])]


def used_rows(judged):
    return [event for event in reference.used_events(judged) if event.table is None]


def check_awake(rng, shape, events):
    for _ in range(2):
        judged = reference.judge(declared("1d"), awake(rng, events))
        used = used_rows(judged)
        found, late = closed(shape, judged)
        assert len(used) == len(events) and not late
        watermark = max(event.time for event in used) - LATENESS
        expected = [one for one in of_all(shape, used) if one[1].last < watermark]
        assert sorted(expected) == sorted(one[:3] for one in found), (expected, found)


def check_drowsy(rng, shape, events):
    arrivals = drowsy(rng, events)
    judged = reference.judge(declared("5s"), arrivals)
    used, (found, late) = used_rows(judged), closed(shape, judged)
    if group_windows.is_session(shape):
        kept = [event for event in used if group_windows.name(event) not in late]
        assert sorted(of_all(shape, kept)) == sorted(one[:3] for one in found)
    else:
        there = {(one[1], event) for one in found for event in one[2]}
        due = [(window, event) for event in used for window in group_windows.windows_at(shape, event.time)]
        missing = {event.index for window, event in due if (window, event.row["id"]) not in there}
        assert missing == {name[0] for name in late}
    position = rng.randrange(len(arrivals) + 1)
    next_moment = arrivals[position]["arrived"] if position < len(arrivals) else None
    earlier = [one for one in closed(shape, judged, position)[0] if one[3] != next_moment]
    assert all(one in found for one in earlier), "a closed window changed"
    return len(late)


def check_windows_of_windows(rng, shape, events):
    """The last look closes everything: each row of a window that closed is then in a window over it."""
    judged = reference.judge(declared("5s"), drowsy(rng, events))
    used, outer = reference.used_events(judged), rng.choice(SHAPES)
    plain = [{"from": "s", "columns": {"k": "k"}}] if rng.random() < 0.5 else []
    derived = [
        {"name": "inner", "branches": [branch(shape)]},
        {"name": "rows", "branches": [*plain, {"from": "inner", "columns": {"k": {"text": "of windows"}}}]},
    ]
    over = {"from": "rows", "window": outer, "group": {}, "columns": {"n": {"agg": "count"}}}
    closings, late = reference.closed_windows(over, derived, used)
    there = {group_windows.name(row) for one, _ in closings for row in one.rows}
    rows = {group_windows.name(row) for row in reference.derived_rows(derived, "rows", used)}
    assert there | set(late) == rows and all(index is not None for index, *_ in late), "a row of a window is lost"
    steps = watermarks.steps(used, {None})
    for closing, _ in closings:
        passed = next(step.moment for step in steps if group_windows.has_passed(step.watermark, closing.window))
        assert closing.moment == passed, (closing, passed)


def check_views(shape, events):
    judged = reference.judge(declared("1d"), [{"columns": event} for event in events])
    used = used_rows(judged)
    for key, window, rows in group_windows.grouped(shape, [((event.row["k"],), event) for event in used]):
        upto = [event for event in used if event.row["k"] == key[0] and event.time <= window.last]
        found = group_windows.open_at(shape, upto, window.last)
        assert parts(key, *found) == parts(key, window, rows), (window, found)
        assert parts(key, *group_windows.closed_before(shape, upto, window.last + 1)) == parts(key, window, rows)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int, required=True)
    options.add_argument("--streams", type=int, default=400)
    options = options.parse_args()
    print(f"seed {options.seed}")
    late = 0
    for number in range(options.streams):
        rng = random.Random(options.seed * 1_000_003 + number)
        shape, events = rng.choice(SHAPES), drawn_events(rng)
        try:
            check_awake(rng, shape, events)
            late += check_drowsy(rng, shape, events)
            check_windows_of_windows(rng, shape, events)
            check_views(shape, events)
        except AssertionError:
            print(f"stream {number}: {shape} {events}")
            raise
    assert late > options.streams // 20, f"only {late} events came too late: what is drawn does not show it"
    print(f"{options.streams} streams, {late} events too late for a window, 0 differences")


if __name__ == "__main__":
    main()
