"""Group windows: TUMBLE, HOP, CUMULATE and SESSION, when they close, and what comes too late for them.

A window is the instants from `start` to `last`, both in it. `end` is what SQL calls window_end. The windows of the clock
are half open, so their `last` is one microsecond before `end`; a session ends `gap` after its last event, and an event
at that very instant still belongs to it, as a RANGE frame of that length would hold both.

    TUMBLE 1 min        [10:00 ──────────)[10:01 ──────────)
    HOP 30 s of 1 min   [10:00 ──────────)
                              [10:00:30 ──────────)
    CUMULATE 20 s of 1 min   [10:00 ──)  [10:00 ─────)  [10:00 ──────────)
    SESSION 5 min       ●──●────●······]          ●······]            · is the gap

A window closes when the watermark has passed its last instant: nothing that belongs to it is still expected. It closes
once, and its row never changes. What was used though the watermark had passed it (its partition had been idle) comes too
late for the windows that had closed, and for a session that it would have touched. Where a partition is never idle, that
does not happen, and the rows are a function of the used events alone.
"""
from collections import namedtuple

from scalars import duration_us, rank

Window = namedtuple("Window", "start end last")
Closing = namedtuple("Closing", "key window rows moment")


def is_session(shape):
    return shape["kind"] == "session"


def windows_at(shape, instant):
    """The windows of the clock that hold an instant, the one that ends first before the others."""
    offset = duration_us(shape.get("offset", "0s"))
    size = duration_us(shape["size"])
    step = duration_us(shape[{"tumble": "size", "hop": "slide", "cumulate": "step"}[shape["kind"]]])
    if shape["kind"] == "cumulate":
        start = (instant - offset) // size * size + offset
        ends = [start + length for length in range(step, size + 1, step)]
        bounds = [(start, end) for end in ends if end > instant]
    else:
        latest = (instant - offset) // step * step + offset
        starts = range(latest, instant - size, -step)
        bounds = sorted((start, start + size) for start in starts)
    return [Window(start, end, end - 1) for start, end in bounds]


def sessions(shape, rows):
    """The sessions of one key's rows: those at most a gap after the one before are in its session."""
    gap, found = duration_us(shape["gap"]), []
    for row in sorted(rows, key=lambda row: row.time):
        if found and row.time <= found[-1][-1].time + gap:
            found[-1].append(row)
        else:
            found.append([row])
    return [(Window(one[0].time, one[-1].time + gap, one[-1].time + gap), one) for one in found]


def key_rank(key):
    """The order of keys, and their equality: as in GROUP BY, NULL equals NULL. It comes first."""
    return tuple((part is not None, () if part is None else rank(part)) for part in key)


def grouped(shape, keyed):
    """[(key, window, rows)] of (key, row) pairs. There is no window without a row."""
    keys = {key_rank(key): key for key, _ in keyed}
    found = []
    for wanted in sorted(keys):
        rows = [row for key, row in keyed if key_rank(key) == wanted]
        if is_session(shape):
            found += [(keys[wanted], *one) for one in sessions(shape, rows)]
        else:
            for window in sorted({window for row in rows for window in windows_at(shape, row.time)}):
                found.append((keys[wanted], window, [row for row in rows if window.start <= row.time <= window.last]))
    return found


# ---- Closing, as the watermark goes on -----------------------------------------------------------------------------------


def play(shape, steps, keyed_of):
    """The windows that close at the steps of `watermarks.steps`, and the rows that came too late for some window.
    `keyed_of(known)` are the (key, row) pairs of what is known at a step. Rows of windows that close at a step are among
    them: windows of windows close at the same step, after those rows are in. A version of a joined table changes the rows of
    earlier events at the step at which it is known, in the windows that are open; it makes no event come too late."""
    watermark, reached = None, {}  # the watermark before each row came
    closings, closed, late = [], set(), []
    for step in steps:
        held = []
        for key, row in by_arrival(keyed_of(step.known), reached):
            if name(row) not in reached:
                reached[name(row)] = watermark
                same_key = [other for held_key, other in held if key_rank(held_key) == key_rank(key)]
                if row.arrived == step.moment and comes_too_late(shape, row, same_key, watermark):
                    late.append(name(row))
            if not (is_session(shape) and name(row) in late):
                held.append((key, row))
        before, watermark = watermark, step.watermark
        for key, window, rows in sorted(grouped(shape, held), key=lambda one: (one[1].last, key_rank(one[0]))):
            rows = [row for row in rows if not has_passed(reached[name(row)], window)]
            identity = (key_rank(key), window.start, window.end)
            is_due = has_passed(watermark, window) and not has_passed(before, window)
            if is_due and rows and identity not in closed:
                closed.add(identity)
                closings.append(Closing(key, window, rows, step.moment))
    return closings, late


def by_arrival(keyed, reached):
    """Those of earlier steps as they came, then events as they arrived, of one by branch; then rows of windows that have just
    closed. (A UNION ALL gives one branch after the other.)"""
    places = {known: place for place, known in enumerate(reached)}
    return sorted(keyed, key=lambda one: (places.get(name(one[1]), len(places)), one[1].index is None, one[1].index or 0))


def name(row):
    """What tells a row of a stream from all others."""
    return (row.index, row.time, row.primary_key, row.partition)


def has_passed(watermark, window):
    return watermark is not None and window.last < watermark


def comes_too_late(shape, row, held, watermark):
    """Whether a window that the row belongs to had closed. `held` are the rows of its key that came before."""
    if not is_session(shape):
        return any(has_passed(watermark, window) for window in windows_at(shape, row.time))
    joined = next(window for window, rows in sessions(shape, [*held, row]) if row in rows)
    touched = [window for window, _ in sessions(shape, held) if joined.start <= window.start <= joined.last]
    return any(has_passed(watermark, window) for window in [joined, *touched])


# ---- As of an instant ----------------------------------------------------------------------------------------------------
# A feature view over group windows needs no watermark: as of t a window is closed when t has passed its last instant.


def open_at(shape, rows, t):
    """The window that t is in, of several the one that ends first, and its rows so far; None for no session. `rows` are
    those of one key up to t."""
    if is_session(shape):
        return next(((window, held) for window, held in sessions(shape, rows) if t <= window.last), (None, []))
    window = windows_at(shape, t)[0]
    return window, [row for row in rows if window.start <= row.time]


def closed_before(shape, rows, t):
    """The window with a row that was the last to close before t, and its rows; None before the first."""
    closed = [(window, held) for _, window, held in grouped(shape, [((), row) for row in rows]) if window.last < t]
    return max(closed, key=lambda one: one[0].last, default=(None, []))
