"""The approximate aggregates as the simplest program: XXH3-64, HyperLogLog with Ertl's estimator, buckets of doubles.

An approximation is still a function of the multiset of the frame's values alone, to the last bit, so it is specified like
everything else. `aggregates.py` calls `approx_count_distinct` and `approx_quantile`; nothing else is meant from outside.
"""
import math
import struct
from collections import Counter
from datetime import date
from decimal import Decimal
from fractions import Fraction

# ---- Canonical bytes: equal values of one type have equal bytes, whatever the width of their column -----------------------


def canonical_bytes(value):
    """Text as UTF-8; doubles (REAL as the double it equals) as their bits, which are normal already; a DECIMAL as its
    unscaled 128-bit integer; integers, booleans, days and instants as 64-bit integers. All little-endian."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, Decimal):
        sign, digits, _ = value.as_tuple()
        unscaled = int("".join(map(str, digits))) * (-1 if sign else 1)
        return unscaled.to_bytes(16, "little", signed=True)
    if isinstance(value, date):
        value = (value - date(1970, 1, 1)).days
    return int(value).to_bytes(8, "little", signed=True)


# ---- XXH3-64 with seed 0, of up to 240 bytes (doc/xxhash_spec.md of the xxHash project) -----------------------------------

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
    "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc"
    "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
MASK = 2**64 - 1
PRIME_1, PRIME_2, PRIME_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
PRIME_MX1, PRIME_MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25


def word(data, at, size=8):
    return int.from_bytes(data[at : at + size], "little")


def folded(a, b):
    product = a * b
    return (product & MASK) ^ (product >> 64)


def mixed(data, at, secret):
    return folded(word(data, at) ^ word(SECRET, secret), word(data, at + 8) ^ word(SECRET, secret + 8))


def avalanche(x, shift, times, last, more=None):
    x = (x ^ x >> shift) * times & MASK
    if more:
        x = (x ^ x >> more[0]) * more[1] & MASK
    return x ^ x >> last


def rotated(x, by):
    return (x << by | x >> (64 - by)) & MASK


def swapped(x):
    return int.from_bytes(x.to_bytes(8, "little"), "big")


def xxh3(data):
    n = len(data)
    if n <= 3:
        x = word(SECRET, 56) ^ word(SECRET, 64)
        if n:
            combined = data[-1] | n << 8 | data[0] << 16 | data[n // 2] << 24
            x = word(SECRET, 0, 4) ^ word(SECRET, 4, 4) ^ combined
        return avalanche(x, 33, PRIME_2, 32, (29, PRIME_3))
    if n <= 8:
        x = (word(SECRET, 8) ^ word(SECRET, 16)) ^ (word(data, n - 4, 4) | word(data, 0, 4) << 32)
        x ^= rotated(x, 49) ^ rotated(x, 24)
        x = x * PRIME_MX2 & MASK
        x = (x ^ (x >> 35) + n) * PRIME_MX2 & MASK
        return x ^ x >> 28
    if n <= 16:
        low = word(SECRET, 24) ^ word(SECRET, 32) ^ word(data, 0)
        high = word(SECRET, 40) ^ word(SECRET, 48) ^ word(data, n - 8)
        return avalanche((n + swapped(low) + high + folded(low, high)) & MASK, 37, PRIME_MX1, 32)
    assert n <= 240, "longer texts are hashed in another way, which no case needs"
    x = n * PRIME_1
    if n <= 128:
        for pair in range((n - 1) // 32 + 1):
            x += mixed(data, 16 * pair, 32 * pair) + mixed(data, n - 16 * (pair + 1), 32 * pair + 16)
        return avalanche(x & MASK, 37, PRIME_MX1, 32)
    x = avalanche((x + sum(mixed(data, 16 * part, 16 * part) for part in range(8))) & MASK, 37, PRIME_MX1, 32)
    x += sum(mixed(data, 16 * part, 16 * (part - 8) + 3) for part in range(8, n // 16)) + mixed(data, n - 16, 119)
    return avalanche(x & MASK, 37, PRIME_MX1, 32)


# ---- approx_count_distinct: HyperLogLog, 4,096 registers of ranks up to 53 -------------------------------------------------

REGISTERS, RANK_MAX = 4096, 53
ALPHA = 0.7213475204444817  # 1 ÷ (2 ln 2)


def approx_count_distinct(values):
    greatest = {}  # register → rank; 0 where it is missing
    for value in values:
        register, rest = divmod(xxh3(canonical_bytes(value)), 2**52)
        greatest[register] = max(greatest.get(register, 0), RANK_MAX - rest.bit_length())
    registers = Counter({0: REGISTERS - len(greatest)}) + Counter(greatest.values())
    estimate = cardinality([registers[rank] for rank in range(RANK_MAX + 1)])
    return math.floor(Fraction(estimate) + Fraction(1, 2))  # half away from zero: it is not negative


def cardinality(multiplicities):
    """O. Ertl, arXiv 1702.01284, algorithm 6; operations in the order written."""
    z = REGISTERS * tau(1.0 - multiplicities[RANK_MAX] / REGISTERS)
    for rank in range(RANK_MAX - 1, 0, -1):
        z = 0.5 * (z + multiplicities[rank])
    z += REGISTERS * sigma(multiplicities[0] / REGISTERS)
    return ALPHA * REGISTERS * REGISTERS / z


def sigma(x):
    if x == 1.0:
        return math.inf
    power, total, before = 1.0, x, None
    while total != before:
        x *= x
        before, total = total, total + x * power
        power += power
    return total


def tau(x):
    if x in (0.0, 1.0):
        return 0.0
    power, total, before = 1.0, 1.0 - x, None
    while total != before:
        x = math.sqrt(x)
        power *= 0.5
        before, total = total, total - (1.0 - x) * (1.0 - x) * power
    return total / 3.0


# ---- approx_quantile: the middle of the bucket that the rank falls into -----------------------------------------------------


def middle(x):
    """Sign, exponent and the first 7 bits of the significand stay, then half a bucket is added. Zero, the infinities and
    NaN are themselves."""
    if x == 0 or not math.isfinite(x):
        return x
    (bits,) = struct.unpack("<Q", struct.pack("<d", x))
    return struct.unpack("<d", struct.pack("<Q", bits >> 45 << 45 | 1 << 44))[0]


def approx_quantile(ordered, q):
    """Of doubles in order, at least one: the middle of the bucket of the one at rank ⌊q·(n − 1)⌋, a product of doubles."""
    return middle(ordered[math.floor(q * (len(ordered) - 1))])
