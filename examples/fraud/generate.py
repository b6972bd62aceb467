"""Card transactions with labelled attacks: `python generate.py --events 1000000 --out DIR` makes DIR a project.

DIR then holds `features.sql`, `data/transactions.*`, `data/labels.parquet` and `spine.parquet`; DIR may be this folder.
The same seed, events, accounts and days give the same events in every format and order. Memory stays bounded: the events
are made in slices of time of about CHUNK_EVENTS, each sorted, none remembered (`--order random` shuffles through files).

The ordinary events: accounts, merchants and the odd shared device are drawn from zipf-like distributions; an account has
its own price level, home country and up to three devices; nights are quiet. An event arrives a few milliseconds after it
happened, one in a hundred up to 30 seconds after.

The attacks, each 2 to 10 minutes long, none in the first quarter of the time span:
  card_testing   one account, dozens of tiny amounts, each at another merchant
  takeover       one account, a handful of large amounts, from a new device and another country
  ring           several accounts, each a few ordinary amounts, all from one new device
Their labels arrive 1 to 20 days after the event.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
CHUNK_EVENTS = 250_000
SLICE_US = 300_000_000  # five minutes: the grain at which the daily rhythm is drawn
DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
DELAY_MAX_US = 29_900_000  # within the stream's allowed lateness of 30 seconds
EVENTS_PER_ATTACK = 8_000
COUNTRIES = np.array("US GB DE FR ES IT NL SE PL BR IN JP".split())
NO_COUNTRY = len(COUNTRIES)
ATTACKS = np.array(["", "card_testing", "takeover", "ring"])
CARD_TESTING, TAKEOVER, RING = 1, 2, 3

EVENT = np.dtype([
    ("account_id", "i8"), ("merchant_id", "i8"), ("device_id", "i8"), ("amount", "f8"), ("country", "i1"),
    ("ts", "i8"), ("arrived", "i8"), ("attack", "i1"), ("attack_id", "i4"), ("number", "i8"),
])


def main():
    options = arguments()
    began = time.perf_counter()
    world = World(options.accounts, options.days, options.seed)
    attacks = make_attacks(world, options.events)
    (options.out / "data").mkdir(parents=True, exist_ok=True)
    write_project(options)
    labels = []
    frauds = len(attacks)
    spine_rows = min(options.spine_rows, options.events) if options.spine_rows else min(100_000, options.events // 10)
    keep = max(0, spine_rows - frauds) / (options.events - frauds)
    with Spine(options.out / "spine.parquet", keep, world.random("spine")) as spine:
        with ordered_writer(options, world) as writer:
            for events in in_time_order(world, options.events, attacks):
                writer.write(events)
                spine.write(events)
                labels.append(events[events["attack"] > 0])
    write_labels(options.out / "data" / "labels.parquet", np.concatenate(labels), world.random("labels"))
    report(options, attacks, spine.rows, time.perf_counter() - began)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, help="default: a tenth of the events")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="the project folder to make")
    parser.add_argument("--format", choices=["parquet", "jsonl", "csv"], default="parquet")
    parser.add_argument("--order", choices=["time", "arrival", "random"], default="arrival")
    parser.add_argument("--compression", choices=["snappy", "zstd"], default="snappy", help="of the Parquet file")
    parser.add_argument("--spine-rows", type=int, help="default: a tenth of the events, at most 100,000")
    options = parser.parse_args()
    options.accounts = options.accounts or max(100, options.events // 10)
    if options.events < 1_000 or options.accounts < 100 or options.days < 1:
        parser.error("at least 1,000 events, 100 accounts and 1 day are needed")
    return options


class World:
    """What does not change from chunk to chunk: who exists, and the seed."""

    def __init__(self, accounts, days, seed):
        self.accounts = accounts
        self.merchants = max(200, accounts // 20)
        self.shared_devices = max(20, accounts // 50)
        self.shared_devices_from = 4 * accounts + 4  # the devices of account a are 4a, 4a + 1, 4a + 2
        self.new_devices_from = self.shared_devices_from + self.shared_devices
        self.span_us = days * DAY_US
        self.seed = seed

    def random(self, *purpose):
        """A generator of its own for each purpose, so that no purpose shifts another's numbers."""
        words = [word if isinstance(word, int) else int.from_bytes(word.encode(), "little") for word in purpose]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *words])))


def mixed(ids, salt):
    """A fixed uniform number in [0, 1) for each id (multiplicative hash, xor-shift, multiplicative hash)."""
    mix = (ids.astype(np.uint64) + np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
    mix = (mix ^ (mix >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mix >> np.uint64(40)).astype(np.float64) / float(1 << 24)


def zipf(random, count, size, exponent):
    """Ids 1..size, the k-th most popular drawn in proportion to about k^-exponent (exponent < 1), popularity scattered."""
    power = 1.0 - exponent
    rank = ((random.random(count) * (float(size + 1) ** power - 1.0) + 1.0) ** (1.0 / power)).astype(np.int64) - 1
    rank = np.minimum(rank, size - 1)
    step = next(prime for prime in (982_451_653, 961_748_941) if size % prime)
    return rank * step % size + 1


def level(accounts):
    """The price level of an account: 8 to 64, log-uniform."""
    return 8.0 * 2.0 ** (3.0 * mixed(accounts, 11))


def home(accounts):
    """The home country of an account; the first ones are more frequent."""
    return (mixed(accounts, 23) ** 2 * len(COUNTRIES)).astype(np.int8)


def cents(amounts):
    return np.maximum(np.rint(amounts * 100.0), 1.0) / 100.0


def ordinary(world, random, ts):
    """Ordinary events at the given times."""
    count = len(ts)
    events = np.zeros(count, EVENT)
    account = zipf(random, count, world.accounts, 0.5)
    events["account_id"] = account
    events["merchant_id"] = zipf(random, count, world.merchants, 0.9)
    which = random.random(count)
    events["device_id"] = 4 * account + (which > 0.75) + (which > 0.95)
    shared = np.flatnonzero(random.random(count) < 0.01)
    events["device_id"][shared] = world.shared_devices_from + zipf(random, len(shared), world.shared_devices, 0.5) - 1
    events["amount"] = cents(level(account) * np.exp(0.8 * random.standard_normal(count)))
    events["country"] = home(account)
    odd = random.random(count)
    abroad = np.flatnonzero(odd < 0.03)
    events["country"][abroad] = random.integers(0, len(COUNTRIES), len(abroad))
    events["country"][odd > 0.98] = NO_COUNTRY
    events["ts"] = ts
    return events


def make_attacks(world, events):
    """All events of all attacks, by event time."""
    random = world.random("attacks")
    count = max(6, events // EVENTS_PER_ATTACK)
    makers = {CARD_TESTING: card_testing, TAKEOVER: takeover, RING: ring}
    attacks = []
    for attack_id in range(1, count + 1):
        attack = 1 + attack_id % 3
        rows = makers[attack](world, random, world.new_devices_from + attack_id)
        duration_us = random.integers(120_000_000, 600_000_001)
        begin_us = START_US + random.integers(world.span_us // 4, world.span_us - 600_000_000)
        offsets = random.integers(0, duration_us + 1, len(rows))
        offsets[0], offsets[-1] = 0, duration_us
        rows["ts"] = begin_us + np.sort(offsets)
        rows["attack"], rows["attack_id"] = attack, attack_id
        attacks.append(rows)
    attacks = np.concatenate(attacks)
    return attacks[np.argsort(attacks["ts"], kind="stable")]


def card_testing(world, random, device):
    rows = np.zeros(random.integers(30, 91), EVENT)
    account = random.integers(1, world.accounts + 1)
    rows["account_id"] = account
    rows["merchant_id"] = random.integers(1, world.merchants + 1, len(rows))
    rows["device_id"] = device
    rows["amount"] = cents(random.uniform(0.5, 4.0, len(rows)))
    rows["country"] = home(np.array([account]))[0]
    return rows


def takeover(world, random, device):
    rows = np.zeros(random.integers(6, 15), EVENT)
    account = np.array([random.integers(1, world.accounts + 1)])
    rows["account_id"] = account
    rows["merchant_id"] = random.choice(random.integers(1, world.merchants + 1, 4), len(rows))
    rows["device_id"] = device
    rows["amount"] = cents(level(account) * random.uniform(2.0, 8.0, len(rows)))
    rows["country"] = (home(account) + random.integers(1, len(COUNTRIES))) % len(COUNTRIES)
    return rows


def ring(world, random, device):
    members = random.integers(1, world.accounts + 1, random.integers(6, 13))
    accounts = np.repeat(members, random.integers(2, 6, len(members)))
    random.shuffle(accounts)
    rows = np.zeros(len(accounts), EVENT)
    rows["account_id"] = accounts
    rows["merchant_id"] = random.choice(random.integers(1, world.merchants + 1, 3), len(rows))
    rows["device_id"] = device
    rows["amount"] = cents(level(accounts) * np.exp(0.8 * random.standard_normal(len(rows))) * 1.5)
    rows["country"] = home(accounts)
    return rows


def in_time_order(world, events, attacks):
    """Chunks of all events, by event time, each with its number and its arrival."""
    begins = np.arange(START_US, START_US + world.span_us, SLICE_US)
    hours = (begins - START_US) / 3.6e9
    rhythm = 1.0 + 0.7 * np.sin((hours - 9.0) / 24.0 * 2.0 * np.pi)
    counts = world.random("rhythm").multinomial(events - len(attacks), rhythm / rhythm.sum())
    number = 0
    for chunk, slices in enumerate(chunks_of(counts)):
        random = world.random("chunk", chunk)
        ts = np.repeat(begins[slices], counts[slices])
        ts += random.integers(0, SLICE_US, len(ts))
        low, high = begins[slices][0], begins[slices][-1] + SLICE_US
        inside = slice(*np.searchsorted(attacks["ts"], [low, high]))
        rows = np.concatenate([ordinary(world, random, ts), attacks[inside]])
        rows = rows[np.argsort(rows["ts"], kind="stable")]
        rows["number"] = np.arange(number, number + len(rows))
        rows["arrived"] = rows["ts"] + delays(random, len(rows))
        number += len(rows)
        if len(rows):
            yield rows


def chunks_of(counts):
    """Runs of slices that hold about CHUNK_EVENTS events together."""
    groups = (np.cumsum(counts) - counts) // CHUNK_EVENTS
    edges = np.flatnonzero(np.diff(groups)) + 1
    for begin, end in zip([0, *edges], [*edges, len(counts)]):
        yield slice(begin, end)


def delays(random, count):
    """From event to arrival, in microseconds: 5 to 200 ms, for one in a hundred up to 30 seconds."""
    delay = random.integers(5_000, 200_000, count)
    slow = np.flatnonzero(random.random(count) < 0.01)
    delay[slow] = random.integers(200_000, DELAY_MAX_US, len(slow))
    return delay


def instants(microseconds):
    return pa.array(microseconds, pa.int64()).cast(pa.timestamp("us"))


def transaction_ids(numbers):
    digits = pc.utf8_lpad(pa.array(numbers, pa.int64()).cast(pa.string()), 10, "0")
    return pc.binary_join_element_wise("t", digits, "")


def table(events):
    """The transactions as users see them: no attack, no number."""
    country = pa.array(COUNTRIES).take(pa.array(events["country"], mask=events["country"] == NO_COUNTRY))
    numbers = {name: pa.array(events[name].copy()) for name in ("account_id", "merchant_id", "device_id", "amount")}
    return pa.table({
        "transaction_id": transaction_ids(events["number"].copy()), **numbers, "country": country,
        "ts": instants(events["ts"].copy()), "arrived": instants(events["arrived"].copy()),
    })


class ParquetFile:
    """A Parquet file written chunk by chunk."""

    def __init__(self, path, compression):
        self.path, self.compression, self.writer = path, compression, None

    def write(self, rows):
        if self.writer is None:
            # A dictionary of distinct numbers, amounts or ids would only grow the file.
            self.writer = pq.ParquetWriter(self.path, rows.schema, compression=self.compression, use_dictionary=["country"])
        self.writer.write_table(rows)

    def close(self):
        self.writer.close()


class TextFile:
    """A JSON Lines or CSV file: each line is joined column by column inside Arrow, then written as one buffer."""

    def __init__(self, path, format):
        self.file, self.format, self.header = open(path, "wb"), format, False

    def write(self, rows):
        if self.format == "csv" and not self.header:
            self.file.write((",".join(rows.schema.names) + "\n").encode())
            self.header = True
        lines = self.lines(rows).combine_chunks()
        self.file.write(memoryview(lines.buffers()[2]))

    def lines(self, rows):
        parts = []
        for place, name in enumerate(rows.schema.names):
            value = self.text(rows.column(name))
            if self.format == "jsonl":
                parts += [("," if place else "{") + f'"{name}":', value]
            else:
                parts += ["," if place else "", value]
        return pc.binary_join_element_wise(*parts, "}\n" if self.format == "jsonl" else "\n", "")

    def text(self, column):
        quote = '"' if self.format == "jsonl" else ""
        if pa.types.is_timestamp(column.type):
            day_and_time = pc.utf8_replace_slice(column.cast(pa.string()), 10, 11, "T")
            return pc.binary_join_element_wise(quote, day_and_time, f"Z{quote}", "")
        if pa.types.is_string(column.type):
            return pc.binary_join_element_wise(quote, column, quote, "").fill_null("null" if quote else "")
        return column.cast(pa.string())

    def close(self):
        self.file.close()


def ordered_writer(options, world):
    path = options.out / "data" / f"transactions.{options.format}"
    parquet = options.format == "parquet"
    file = ParquetFile(path, options.compression) if parquet else TextFile(path, options.format)
    if options.order == "random":
        return Shuffled(file, options, world)
    return Arriving(file) if options.order == "arrival" else InTime(file)


class InTime:
    """Writes events as they come, by event time."""

    def __init__(self, file):
        self.file = file

    def write(self, events):
        self.file.write(table(events))

    def finish(self):
        """Writes what was held back."""

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error is None:
            self.finish()
        self.file.close()


class Arriving(InTime):
    """Writes events by arrival: the newest are held back while an earlier arrival may still come."""

    def __init__(self, file):
        super().__init__(file)
        self.held = np.zeros(0, EVENT)

    def write(self, events):
        events = np.concatenate([self.held, events])
        events = events[np.lexsort((events["number"], events["arrived"]))]
        ready = np.searchsorted(events["arrived"], events["ts"].max())  # nothing arrives before it happened
        self.held = events[ready:]
        if ready:
            self.file.write(table(events[:ready]))

    def finish(self):
        if len(self.held):
            self.file.write(table(self.held))


class Shuffled(InTime):
    """Writes events in random order: each goes to a random one of several files, and each file is shuffled in memory."""

    def __init__(self, file, options, world):
        super().__init__(file)
        self.random = world.random("order")
        self.folder = tempfile.TemporaryDirectory(dir=options.out)
        count = -(-options.events // CHUNK_EVENTS)
        self.parts = [open(Path(self.folder.name) / str(part), "w+b") for part in range(count)]

    def write(self, events):
        part = self.random.integers(0, len(self.parts), len(events))
        for place, file in enumerate(self.parts):
            file.write(events[part == place].tobytes())

    def finish(self):
        for file in self.parts:
            file.seek(0)
            events = np.frombuffer(file.read(), EVENT)
            file.close()
            if len(events):
                self.file.write(table(events[self.random.permutation(len(events))]))
        self.folder.cleanup()


class Spine:
    """The decisions: every fraudulent transaction and a random sample of the others, as of the transaction's own time."""

    def __init__(self, path, keep, random):
        self.file, self.keep, self.random, self.rows = ParquetFile(path, "zstd"), keep, random, 0

    def write(self, events):
        chosen = events[(self.random.random(len(events)) < self.keep) | (events["attack"] > 0)]
        fraud = pa.array(chosen["attack"] > 0)
        self.rows += len(chosen)
        self.file.write(table(chosen).drop_columns(["country", "arrived"]).append_column("is_fraud", fraud))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def write_labels(path, frauds, random):
    label_ts = frauds["ts"] + random.integers(DAY_US, 20 * DAY_US, len(frauds))
    rows = pa.table({
        "transaction_id": transaction_ids(frauds["number"].copy()),
        "attack": pa.array(ATTACKS[frauds["attack"]]),
        "attack_id": pa.array(frauds["attack_id"].copy()),
        "label_ts": instants(label_ts),
    })
    pq.write_table(rows.sort_by("label_ts"), path, compression="zstd")


def write_project(options):
    """Makes the folder a project of its own: features.sql, reading the file that is about to be written."""
    text = (HERE / "features.sql").read_text()
    text = text.replace("transactions.parquet", f"transactions.{options.format}")
    text = text.replace("= 'parquet'", f"= '{options.format}'")
    if options.out.resolve() != HERE:
        (options.out / "features.sql").write_text(text)
    elif options.format != "parquet":
        raise SystemExit("this folder's own features.sql reads Parquet; choose another --out for other formats")


def report(options, attacks, spine_rows, seconds):
    print(f"{options.events:,} transactions of {options.accounts:,} accounts over {options.days} days in {seconds:.1f} s")
    for code in (CARD_TESTING, TAKEOVER, RING):
        rows = attacks[attacks["attack"] == code]
        print(f"  {ATTACKS[code]:<13}{len(np.unique(rows['attack_id'])):>7,} attacks {len(rows):>9,} transactions")
    print(f"  spine: {spine_rows:,} decisions, {len(attacks):,} of them fraud")


if __name__ == "__main__":
    main()
