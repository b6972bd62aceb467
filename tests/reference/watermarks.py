"""How far streams have come: the watermark, as it moves with what arrives and, where nothing arrives, with the clock.

A stream's watermark is the least over its partitions that are not idle, and never goes back. A partition is idle when
nothing of it was used for the idle timeout. Where all are idle, nothing holds the watermark back and it follows the
clock: now minus the allowed lateness. Nobody looks at the clock all the time: it is looked at whenever something
arrives, before that is taken in, and at the looks that a case puts between arrivals.

    arrived  ──▶   10:00:00     10:00:40            10:02:00 (a look)       10:03:00
    event time     10:00:00     10:00:30            –                       10:02:50
    watermark      09:59:30     10:00:00            10:01:30                10:02:30, then still 10:02:30

with a lateness of 30 s and an idle timeout of 1 min: at the look the clock says 10:02:00, and again at 10:03:00.
Whether an arrival is late is judged by its own partition alone; this watermark closes windows and accepts nothing.
"""
from collections import namedtuple

CLOCK = "clock"  # where a look at the clock arrives; a look is among what is used, so that positions count it

Step = namedtuple("Step", "known watermark moment")


def steps(used, sources):
    """What is known and the watermark then, after each thing that may move it: at every moment first the clock alone has
    gone on, then what arrived is there too. Over several `sources` (None is the stream, others are tables) the
    watermark is the least of theirs, and None until each has one."""
    reached, found = dict.fromkeys(sources), []
    for moment in sorted({one.arrived for one in used}):
        arrived = [one for one in used if one.arrived <= moment]
        for known in ([as_look(one) if one.arrived == moment else one for one in arrived], arrived):
            for source, before in reached.items():
                now = claimed([one for one in known if one.table == source], moment)
                reached[source] = max((mark for mark in (before, now) if mark is not None), default=None)
            step = Step(known, None if None in reached.values() else min(reached.values()), moment)
            if not found or knows_more(step, found[-1]):
                found.append(step)
    return found


def knows_more(step, before):
    """Whether the watermark has moved, or something has arrived. Where there is neither, nothing can close."""
    events, events_before = ([one for one in known if one.table != CLOCK] for known in (step.known, before.known))
    return (step.watermark, len(events)) != (before.watermark, len(events_before))


def as_look(one):
    """Something that is about to arrive, as the look at the clock before it. Who asks about these arrivals alone, as
    windows over windows do of the windows inside, then knows what time it is, and closes the same."""
    return one._replace(table=CLOCK)


def claimed(known, moment):
    """What the arrivals of one source claim at a moment: that nothing from before is still expected."""
    newest = {}
    for one in known:  # in the order of arrival
        claim, _ = newest.get(one.partition, (one.watermark, None))
        newest[one.partition] = (max(claim, one.watermark), one.idle_from)
    awake = [claim for claim, idle_from in newest.values() if moment < idle_from]
    if awake or not known:
        return min(awake, default=None)
    return moment - (known[0].time - known[0].watermark)
