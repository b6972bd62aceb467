"""What riders and cars do at a price: the whole of the simulated response, for generate.py and worth.py.

A rider who is asked more than `pays_at_most` times the base price walks away. Any other one takes a car of the zone, which
is busy for the minutes of the ride and then back in its zone, or, if all cars are busy, goes unserved. Nobody waits, nobody
asks twice, and no car changes its zone.
"""

import heapq
from bisect import bisect_right

WALKED, UNSERVED, SERVED = range(3)
MINUTE_US = 60_000_000


class Cars:
    """How many cars each zone has, by instant: zone → its instants of change, and the cars from each on."""

    def __init__(self, versions):
        """`versions`: (zone, since_us, cars) in the order of arrival. Of equal zone and instant the last one stands."""
        standing = {(zone, since_us): cars for zone, since_us, cars in versions}
        self.changes = {}
        for (zone, since_us), cars in sorted(standing.items()):
            instants, counts = self.changes.setdefault(zone, ([], []))
            instants.append(since_us)
            counts.append(cars)

    def at(self, zone, instant_us):
        instants, counts = self.changes[zone]
        place = bisect_right(instants, instant_us)
        return counts[place - 1] if place else 0


def outcomes(requests, cars, multipliers):
    """For each request, (zone, instant_us, minutes, pays_at_most) in the order of time, what becomes of it."""
    busy = {zone: [] for zone in cars.changes}  # zone → when each of its busy cars is free again, a heap
    found = []
    for (zone, instant_us, minutes, pays_at_most), multiplier in zip(requests, multipliers, strict=True):
        free_again = busy[zone]
        while free_again and free_again[0] <= instant_us:
            heapq.heappop(free_again)
        if multiplier > pays_at_most:
            found.append(WALKED)
        elif len(free_again) >= cars.at(zone, instant_us):
            found.append(UNSERVED)
        else:
            heapq.heappush(free_again, instant_us + round(minutes * MINUTE_US))
            found.append(SERVED)
    return found
