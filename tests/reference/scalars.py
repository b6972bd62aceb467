"""Values, their order, and scalar expressions over one row: what everything else in the reference stands on.

A value is None (NULL), int, float (DOUBLE and REAL), Decimal, str, bool, date, Timestamp, list or dict (histogram).
An expression that cannot be computed raises `Failure`; what becomes of its row is for the caller to say.
"""
import math
import struct
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation, localcontext

INTEGER_BITS = {"SMALLINT": 16, "INTEGER": 32, "BIGINT": 64}
UNIT_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Failure(Exception):
    """An expression or a value that cannot be computed; `kind` is what the error names."""

    def __init__(self, kind):
        super().__init__(kind)
        self.kind = kind


class Timestamp(int):
    """Microseconds since 1970-01-01T00:00:00Z."""


def duration_us(text):
    """'5m' → 300000000. Units: us, ms, s, m, h, d."""
    unit = text.lstrip("0123456789")
    return int(text[: len(text) - len(unit)]) * UNIT_US[unit]


def timestamp(raw):
    """RFC 3339 text (no zone: UTC; finer than a microsecond: floored) or whole microseconds since the epoch."""
    if isinstance(raw, int):
        return Timestamp(raw)
    moment = datetime.fromisoformat(raw)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return Timestamp((moment - EPOCH) // timedelta(microseconds=1))


def normal(value):
    """−0.0 becomes 0.0 and every NaN one NaN: on entry, and wherever an expression feeds a key or an aggregate."""
    if isinstance(value, float):
        return math.nan if value != value else value + 0.0
    return value


def rank(value):
    """Total order and equality of non-NULL values: NaN equals itself and is greatest; text by code point, which is
    the order of its UTF-8 bytes; false before true."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return (is_nan, 0 if is_nan else value)


def typed(kind, raw):
    """A raw JSON value as a value of column type `kind`; Failure('unreadable') where it is none."""
    try:
        if raw is None:
            return None
        if kind in INTEGER_BITS and type(raw) is int and (raw if raw >= 0 else ~raw).bit_length() < INTEGER_BITS[kind]:
            return raw
        if kind == "DOUBLE" and (type(raw) in (int, float) or raw in ("NaN", "Infinity", "-Infinity")):
            return normal(float(raw))
        if kind == "REAL" and (type(raw) in (int, float) or raw in ("NaN", "Infinity", "-Infinity")):
            return normal(struct.unpack("f", struct.pack("f", float(raw)))[0])
        if kind.startswith("DECIMAL") and type(raw) in (int, str):
            precision, scale = (int(part) for part in kind[8:-1].split(","))
            with localcontext() as exact:
                exact.prec = 100
                value = Decimal(raw).quantize(Decimal(1).scaleb(-scale))
                if value == Decimal(raw) and abs(value.scaleb(scale)) < 10**precision:  # fits without rounding
                    return value
        if kind == "BOOLEAN" and type(raw) is bool or kind == "VARCHAR" and type(raw) is str:
            return raw
        if kind == "DATE" and type(raw) is str:
            return date.fromisoformat(raw)
        if kind == "TIMESTAMP" and type(raw) in (int, str):
            return timestamp(raw)
    except (ValueError, OverflowError, InvalidOperation):
        pass
    raise Failure("unreadable")


# ---- Scalar expressions ------------------------------------------------------------------------------------------------
# "name" is a column; a number, true, false or null is itself; {"text": "GB"} is a string; [operator, argument…] is a
# call; {"agg": …} is an aggregate over a frame and is answered by `aggregate_of`.


def bigint(value):
    if not -(2**63) <= value < 2**63:
        raise Failure("out_of_range")
    return value


def arithmetic(integers, doubles):
    """Integers stay integers (overflow fails); with a double on either side both are doubles."""
    return lambda a, b: bigint(integers(a, b)) if isinstance(a, int) and isinstance(b, int) else doubles(float(a), float(b))


def divide_integers(a, b):
    if b == 0:
        raise Failure("division_by_zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # toward zero


def divide_doubles(a, b):
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)
    return a / b


def cast(value, kind):
    try:
        if kind == "BIGINT":
            return bigint(int(value))
        if kind == "DOUBLE":
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise Failure("bad_cast")


def of_present(function):
    """Of what is in an array but NULL; NULL where nothing is."""
    def answer(values):
        present = [value for value in values if value is not None]
        return function(present) if present else None
    return answer


def sum_in_order(values):
    total = 0.0
    for value in values:
        total += float(value)
    return total


CALLS = {  # all of these are NULL if an argument is NULL
    "array_length": len, "list_sum": of_present(sum_in_order),
    "list_avg": of_present(lambda values: sum_in_order(values) / len(values)),
    "list_contains": lambda values, one: any(value is not None and rank(value) == rank(one) for value in values),
    "=": lambda a, b: rank(a) == rank(b), "<>": lambda a, b: rank(a) != rank(b),
    "<": lambda a, b: rank(a) < rank(b), "<=": lambda a, b: rank(a) <= rank(b),
    ">": lambda a, b: rank(a) > rank(b), ">=": lambda a, b: rank(a) >= rank(b),
    "not": lambda a: not a, "-": arithmetic(lambda a, b: a - b, lambda a, b: a - b), "neg": lambda a: -a,
    "+": arithmetic(lambda a, b: a + b, lambda a, b: a + b), "*": arithmetic(lambda a, b: a * b, lambda a, b: a * b),
    "/": arithmetic(divide_integers, divide_doubles), "%": lambda a, b: a - b * divide_integers(a, b),
    "lower": str.lower, "abs": abs, "||": lambda a, b: a + b,
    "epoch": lambda instant: instant / 1_000_000,  # date_part('epoch', instant): seconds, a double
}


def evaluate(expression, row, aggregate_of=None):
    if isinstance(expression, str):
        return row[expression]
    if isinstance(expression, dict):
        return expression["text"] if "text" in expression else aggregate_of(expression)
    if not isinstance(expression, list):
        return expression
    operator, *arguments = expression
    if operator == "cast":
        value = evaluate(arguments[0], row, aggregate_of)
        return None if value is None else cast(value, arguments[1])
    values = [evaluate(argument, row, aggregate_of) for argument in arguments]
    if operator in ("and", "or"):  # three-valued: one deciding side decides, else NULL wins
        deciding = operator == "or"
        return deciding if deciding in values else None if None in values else not deciding
    if operator == "is null":
        return values[0] is None
    if operator == "is not null":
        return values[0] is not None
    if operator == "coalesce":
        return next((value for value in values if value is not None), None)
    if operator == "nullif":
        return None if None not in values and rank(values[0]) == rank(values[1]) else values[0]
    return None if None in values else CALLS[operator](*values)
