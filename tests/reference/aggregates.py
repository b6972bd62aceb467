"""Aggregates: each is a function of the values of its argument over the events of a frame, in the order of events.

Sums, averages and variances are exact rationals, rounded once to a double. NULL arguments are gone before an aggregate
sees its values, but where `aggregate` says otherwise.
"""
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import sketches
from scalars import Failure, bigint, duration_us, evaluate, normal, rank

def rounded(exact):
    """An exact rational as the nearest double, ties to even; beyond the largest double it is an infinity."""
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def non_finite_sum(values):
    """What the non-finite values make of a sum or average; None if all are finite."""
    odd = {value for value in values if isinstance(value, float) and not math.isfinite(value)}
    return None if not odd else odd.pop() if len(odd) == 1 else math.nan


def sum_of(values):
    if not isinstance(values[0], float):
        with localcontext() as exact:
            exact.prec = 100
            total = sum(values[1:], values[0])
            if isinstance(total, int):
                return bigint(total)
            if abs(total.scaleb(-total.as_tuple().exponent)) >= 10**38:
                raise Failure("out_of_range")
            return total
    odd = non_finite_sum(values)
    return odd if odd is not None else rounded(sum(map(Fraction, values)))


def avg_of(values):
    odd = non_finite_sum(values)
    return odd if odd is not None else rounded(sum(map(Fraction, values)) / len(values))


def variance_of(values, sample):
    n = len(values)
    if sample and n == 1:
        return None
    if non_finite_sum(values) is not None:
        return math.nan
    exact = [Fraction(value) for value in values]
    return rounded((n * sum(x * x for x in exact) - sum(exact) ** 2) / (n * (n - 1) if sample else n * n))


def root(variance):
    return None if variance is None else math.sqrt(variance)


def quantile_of(values, q):
    ordered = sorted((float(value) for value in values), key=rank)
    position = q * (len(ordered) - 1)
    low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
    if rank(low) == rank(high):  # also where they are infinite or NaN
        return low
    return low + (high - low) * (position - math.floor(position))


def mode_of(values):
    ranks = [rank(value) for value in values]
    return min(values, key=lambda value: (-ranks.count(rank(value)), rank(value)))


def tally(values):
    """(value, how often it occurs) for each different value, the smallest first."""
    counted = []
    for value in sorted(values, key=rank):
        if counted and rank(counted[-1][0]) == rank(value):
            counted[-1] = (value, counted[-1][1] + 1)
        else:
            counted.append((value, 1))
    return counted


def top_k_of(values, k):
    return [value for value, _ in sorted(tally(values), key=lambda one: -one[1])[:k]]  # stable: the smallest first of ties


def last_distinct_of(values, n):
    newest_first = []
    for value in reversed(values):
        if rank(value) not in map(rank, newest_first):
            newest_first.append(value)
    return newest_first[:n]


def approx_quantile_of(values, q):
    return sketches.approx_quantile(sorted((float(value) for value in values), key=rank), q)


# Pairs (y, x): covariance, correlation and the slope of the line that fits y over x.


def pairs_of(name, pairs):
    n = len(pairs)
    if n == 0 or n == 1 and name != "covar_pop":
        return None
    if non_finite_sum([side for pair in pairs for side in pair]) is not None:
        return math.nan
    ys, xs = ([Fraction(side) for side in sides] for sides in zip(*pairs))
    together, of_x, of_y = deviation(ys, xs), deviation(xs, xs), deviation(ys, ys)
    if name in ("covar_pop", "covar_samp"):
        return rounded(together / (n if name == "covar_pop" else n - 1))
    if of_x == 0 or name == "corr" and of_y == 0:
        return None  # the line is upright, or a point
    if name == "regr_slope":
        return rounded(together / of_x)
    size = math.sqrt(rounded(together**2 / (of_x * of_y)))  # rounded, then the root of IEEE 754
    return -size if together < 0 else size


def deviation(these, those):
    """Σ (a − ā)(b − b̄), exact."""
    n, mean, other = len(these), sum(these) / len(these), sum(those) / len(those)
    return sum((a - mean) * (b - other) for a, b in zip(these, those))


# Sums that decay: as of t an event at t_i weighs W(t_i) / W(t), where W(t) = 2^k · T and t = k·h + r, 0 ≤ r < h, since
# 1970, h is the half-life and T is 2^(r/h) as the nearest double. So weights do not change as time goes by.


def weight_parts(instant, half_life):
    """k and T of W(t)."""
    halvings, rest = divmod(instant, half_life)
    with localcontext() as precise:
        precise.prec = 60
        return halvings, Fraction(rounded(Fraction(Decimal(2) ** (Decimal(rest) / Decimal(half_life)))))


def decayed_of(name, values, times, half_life, t):
    odd = non_finite_sum(values)
    if odd is not None:
        return odd
    now, now_size = weight_parts(t, half_life)
    weights = []  # over 2^k of t, which leaves small exponents
    for instant in times:
        halvings, size = weight_parts(instant, half_life)
        weights.append(size / 2 ** (now - halvings))
    total = sum(Fraction(value) * weight for value, weight in zip(values, weights))
    return rounded(total / (now_size if name == "decayed_sum" else sum(weights)))


SKIPPING_NULLS = {  # NULL arguments are gone and at least one value is left; otherwise the answer is NULL
    "sum": sum_of, "avg": avg_of, "min": lambda xs: min(xs, key=rank), "max": lambda xs: max(xs, key=rank),
    "var_pop": lambda xs: variance_of(xs, False), "var_samp": lambda xs: variance_of(xs, True),
    "stddev_pop": lambda xs: root(variance_of(xs, False)), "stddev_samp": lambda xs: root(variance_of(xs, True)),
    "bool_and": all, "bool_or": any, "median": lambda xs: quantile_of(xs, 0.5), "mode": mode_of,
    "histogram": lambda xs: bounded(dict(tally(xs))),
}
ITEMS_MAX = 10_000  # of one list or map
TEXT_BYTES_MAX = 4 << 20  # of the texts in it, also those of VARBINARY


def bounded(items):
    """The items of a list or map, if they are not too many or too long for one answer."""
    sizes = [len(item.encode() if isinstance(item, str) else item) for item in items if isinstance(item, (str, bytes))]
    if len(items) > ITEMS_MAX or sum(sizes) > TEXT_BYTES_MAX:
        raise Failure("too_large")
    return items


WITH_A_NUMBER = {"quantile_cont": ("q", quantile_of), "approx_quantile": ("q", approx_quantile_of), "top_k": ("n", top_k_of), "last_distinct": ("n", last_distinct_of)}


def aggregate(call, events, t):
    """One aggregate over the events of its frame as of t, in order."""
    events = [event for event in events if evaluate(call.get("filter", True), event.row) is True]
    rows = [event.row for event in events]
    name, values = call["agg"], [normal(evaluate(call.get("of"), row)) for row in rows]
    if name == "count" and "of" not in call:
        return len(rows)
    if name in ("first_value", "last_value", "nth_value"):  # NULLs are kept; beyond the frame NULL
        n = {"first_value": 1, "last_value": len(values), "nth_value": call.get("n")}[name]
        return values[n - 1] if 1 <= n <= len(values) else None
    if name == "array_agg":
        return bounded(values) or None
    if name in ("min_by", "max_by"):  # the earliest wins a tie: min and max return the first of equals
        pairs = [(x, normal(evaluate(call["by"], row))) for x, row in zip(values, rows)]
        pairs = [(x, y) for x, y in pairs if x is not None and y is not None]
        best = min if name == "min_by" else max
        return best(pairs, key=lambda pair: rank(pair[1]))[0] if pairs else None
    if name in ("covar_pop", "covar_samp", "corr", "regr_slope"):
        pairs = [(y, normal(evaluate(call["by"], row))) for y, row in zip(values, rows)]
        return pairs_of(name, [pair for pair in pairs if None not in pair])
    if name in ("decayed_sum", "decayed_avg") and any(value is not None for value in values):
        numbers = [(value, event.time) for value, event in zip(values, events) if value is not None]
        return decayed_of(name, *zip(*numbers), duration_us(call["half_life"]), t)
    present = [value for value in values if value is not None]
    if name == "count":
        return len({rank(value) for value in present}) if call.get("distinct") else len(present)
    if name == "approx_count_distinct":
        return sketches.approx_count_distinct(present)
    if not present:
        return None
    if name in WITH_A_NUMBER:
        number, answer = WITH_A_NUMBER[name]
        answered = answer(present, call[number])
        return bounded(answered) if isinstance(answered, list) else answered
    return SKIPPING_NULLS[name](present)
