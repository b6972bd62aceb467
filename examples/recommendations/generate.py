"""A shop's clickstream: `python generate.py --out DIR` makes DIR a project; DIR may be this folder.

DIR then holds `features.sql`, `data/actions.parquet`, `data/items.parquet` and `spine.parquet`. The same seed, users and
days give the same rows. Everything is held in memory.

A user has a lasting taste for some categories, and a visit an intent: one category, in six visits of ten one of that taste;
at each view it may turn to another. Most views are of the intent's category, the others of any, and in it an item is drawn
by its weight. Weights are zipf-like, and about once an hour an item becomes hot for some hours (somebody showed it
somewhere), after which it is as before. No item is seen twice in a visit. Some are put into the cart, some of these out of
it again, and at the end the cart may be bought: one checkout for each item.

Items change: prices go down and up again, some items are filed under another category, some are withdrawn, some come in
the middle. Most versions are known hours before they hold, one in five only up to twelve hours after.

What happens to actions: one in a hundred arrives up to nine minutes after it happened (a phone in a tunnel), one in three
hundred arrives twice, one in two thousand is a crawler's, which the CHECK of the stream rejects; one view in three hundred
is of an item that is withdrawn already (an old link).
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US
START_US = 1_767_225_600 * SECOND_US  # 2026-01-01T00:00:00Z
CATEGORIES = np.array("books games garden kitchen music shoes sport toys".split())
ITEMS = 120
NEW_ITEMS = 8  # of these: those that come in the middle
VISITS_A_DAY = 1.1  # of a user, in the mean
VIEWS_IN_VISIT = 8
INTENT_TURNS = 0.08  # at each view
INTENT_FOLLOWED = 0.8
HOT_EVERY_US = HOUR_US  # from one hot item to the next, in the mean
HOT_FACTOR = 25.0
PAUSE_MIN_US = 10 * 60 * SECOND_US  # from visit to visit of a user
DELAY_MAX_US = 540 * SECOND_US  # within the stream's allowed lateness of 10 minutes
DECISIONS_FROM_US = 3 * DAY_US
CANDIDATES = 30
VIEW, ADD, REMOVE, CHECKOUT, CRAWL = range(5)
KINDS = ["view", "add", "remove", "checkout", "crawl"]


def main():
    options = arguments()
    world = World(options.users, options.days, options.seed)
    catalogue = Catalogue(world)
    happened = [action for user in range(1, options.users + 1) for action in actions_of(world, catalogue, user)]
    actions = delivered(happened, world.random("delivery"))
    spine = decisions(world, catalogue, happened, options.decisions)
    (options.out / "data").mkdir(parents=True, exist_ok=True)
    if options.out.resolve() != HERE:
        (options.out / "features.sql").write_text((HERE / "features.sql").read_text())
    write(options.out / "data" / "actions.parquet", actions, ["user_id", "item_id", "kind"])
    write(options.out / "data" / "items.parquet", catalogue.table(), ["item_id", "category"])
    write(options.out / "spine.parquet", spine, ["user_id", "item_id", "ts", "viewed_next"])
    print(f"{len(actions):,} actions of {options.users:,} users over {options.days} days, "
          f"{len(catalogue.versions):,} versions of items")
    print(f"  spine: {len(spine):,} candidates of {len(spine) // CANDIDATES:,} decisions")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--decisions", type=int, default=800, help="whose candidates the spine holds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="the project folder to make")
    options = parser.parse_args()
    if options.users < 20 or options.days < 4:
        parser.error("at least 20 users and 4 days are needed")
    return options


class World:
    """What all share: the span of time, and the seed."""

    def __init__(self, users, days, seed):
        self.users, self.days = users, days
        self.end_us = START_US + days * DAY_US
        self.seed = seed

    def random(self, *purpose):
        """A generator of its own for each purpose, so that no purpose shifts another's numbers."""
        words = [word if isinstance(word, int) else int.from_bytes(word.encode(), "little") for word in purpose]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *words])))


@dataclass(frozen=True)
class Version:
    item: int
    category: int
    price: float
    withdrawn: bool
    since_us: int
    arrived_us: int


@dataclass(frozen=True)
class Action:
    user: int
    item: int
    kind: int
    ts_us: int
    visit_ends: bool = False


class Catalogue:
    """The versions of all items, and hour by hour what is on sale, under which category and how much it draws."""

    def __init__(self, world):
        random = world.random("items")
        hours = world.days * 24
        self.category = np.repeat((np.arange(ITEMS) % len(CATEGORIES))[None, :], hours, axis=0)
        self.on_sale = np.ones((hours, ITEMS), bool)
        self.price = np.round(np.exp(random.normal(3.0, 0.8, ITEMS)), 2)
        self.versions = [version for item in range(ITEMS) for version in self.versions_of(world, random, item)]
        self.weight = zipf_like(random)[None, :] * hot(world, world.random("hot")) * self.on_sale

    def versions_of(self, world, random, item):
        """Writes the item's life into the hours and tells its versions."""
        hours = len(self.on_sale)
        price, category = float(self.price[item]), int(self.category[0, item])
        first = int(random.integers(hours // 3, hours)) if item >= ITEMS - NEW_ITEMS else 0
        self.on_sale[:first, item] = False
        begins_us = START_US + first * HOUR_US if first else START_US - DAY_US
        yield Version(item, category, price, False, begins_us, begins_us)
        for hour in sorted({int(hour) for hour in random.integers(first + 6, hours + 6, 3)}):
            since_us = START_US + hour * HOUR_US
            if hour >= hours:
                break
            what = random.random()
            if what < 0.06:
                self.on_sale[hour:, item] = False
                yield self.told(random, Version(item, category, price, True, since_us, 0))
                break
            if what < 0.3:
                category = int((category + random.integers(1, len(CATEGORIES))) % len(CATEGORIES))
                self.category[hour:, item] = category
            else:
                price = round(float(self.price[item]) * (0.8 if price == self.price[item] else 1.0), 2)
            yield self.told(random, Version(item, category, price, False, since_us, 0))

    def told(self, random, version):
        """The version with its arrival: hours ahead, or, one in five, hours behind."""
        ahead, behind = random.integers(1, 12 * 60, 2)
        minutes = -ahead if random.random() < 0.8 else behind
        return replace(version, arrived_us=version.since_us + int(minutes) * 60 * SECOND_US)

    def hour_of(self, instant_us):
        return min((instant_us - START_US) // HOUR_US, len(self.on_sale) - 1)

    def draw(self, random, instant_us, intent, seen):
        """An item to look at, not seen before in this visit."""
        hour = self.hour_of(instant_us)
        if random.random() < 1 / 300 and not self.on_sale[hour].all():
            return int(random.choice(np.flatnonzero(~self.on_sale[hour])))
        weight = self.weight[hour].copy()
        if random.random() < INTENT_FOLLOWED:
            weight *= self.category[hour] == intent
        weight[seen] = 0.0
        sums = np.cumsum(weight)
        if sums[-1] == 0.0:
            return None
        return int(np.searchsorted(sums, random.random() * sums[-1], side="right"))

    def table(self):
        """The versions in order of arrival."""
        versions = sorted(self.versions, key=lambda one: (one.arrived_us, one.item))
        return pa.table({
            "item_id": [item_name(one.item) for one in versions],
            "category": pa.array([CATEGORIES[one.category] for one in versions]),
            "price": pa.array([f"{one.price:.2f}" for one in versions]).cast(pa.decimal128(8, 2)),
            "withdrawn": [one.withdrawn for one in versions],
            "since": instants([one.since_us for one in versions]),
            "arrived": instants([one.arrived_us for one in versions]),
        })


def zipf_like(random):
    return 1.0 / (1.0 + random.permutation(ITEMS)) ** 0.7


def hot(world, random):
    """Factors of the weight by hour and item: 1, but for some hours of some items."""
    hours = world.days * 24
    factors = np.ones((hours, ITEMS))
    for _ in range(random.poisson(hours * HOUR_US / HOT_EVERY_US)):
        begin, lasts, item = int(random.integers(0, hours)), int(random.integers(2, 6)), int(random.integers(0, ITEMS))
        factors[begin:begin + lasts, item] = HOT_FACTOR
    return factors


def actions_of(world, catalogue, user):
    """Everything that a user does, in time order."""
    random = world.random("user", user)
    taste = random.dirichlet(np.full(len(CATEGORIES), 0.3))
    free_us = START_US
    for begins_us in visit_begins(world, random):
        if begins_us < free_us:
            continue
        visit = [action for action in visit_of(catalogue, random, user, begins_us, taste) if action.ts_us < world.end_us]
        if visit:
            free_us = visit[-1].ts_us + PAUSE_MIN_US
            yield from visit[:-1]
            yield replace(visit[-1], visit_ends=True)


def visit_begins(world, random):
    """Visits are few at night and many in the evening."""
    often = VISITS_A_DAY * np.exp(0.5 * random.standard_normal())
    count = random.poisson(often * world.days)
    days = random.integers(0, world.days, count)
    hours = np.clip(random.normal(17.0, 4.5, count), 0.0, 23.5)
    return np.sort(START_US + days * DAY_US + (hours * 3_600_000).astype(np.int64) * 1_000)


def visit_of(catalogue, random, user, now_us, taste):
    intent, seen, cart = intent_of(random, taste), [], []
    for _ in range(1 + random.geometric(1 / VIEWS_IN_VISIT)):
        if random.random() < INTENT_TURNS:
            intent = intent_of(random, taste)
        item = catalogue.draw(random, now_us, intent, seen)
        if item is None:
            break
        seen.append(item)
        yield Action(user, item, VIEW, now_us)
        now_us += pause(random)
        if random.random() < 0.12:
            cart.append(item)
            yield Action(user, item, ADD, now_us)
            now_us += pause(random)
        if cart and random.random() < 0.04:
            yield Action(user, cart.pop(int(random.integers(0, len(cart)))), REMOVE, now_us)
            now_us += pause(random)
    if random.random() < 0.5:
        for number, item in enumerate(cart):
            yield Action(user, item, CHECKOUT, now_us + number * 1_000)


def intent_of(random, taste):
    return int(random.choice(len(taste), p=taste if random.random() < 0.6 else None))


def pause(random):
    """Between two actions of a visit: half a minute or so, in whole milliseconds, at least three seconds."""
    return 1_000 * int(3_000 + min(30_000 * np.exp(0.8 * random.standard_normal()), 600_000))


def delivered(happened, random):
    """The actions in order of arrival, some of them late by minutes, some twice, and a crawler's among them."""
    count = len(happened)
    columns = {
        "user": np.array([one.user for one in happened]), "item": np.array([one.item for one in happened]),
        "kind": np.array([one.kind for one in happened]), "ts": np.array([one.ts_us for one in happened]),
    }
    columns["kind"][(random.random(count) < 1 / 2_000) & (columns["kind"] == VIEW)] = CRAWL
    delay_us = random.integers(50, 900, count) * 1_000
    slow = np.flatnonzero(random.random(count) < 0.01)
    delay_us[slow] = random.integers(1_000, DELAY_MAX_US // 1_000, len(slow)) * 1_000
    again = np.flatnonzero(random.random(count) < 1 / 300)
    rows = np.concatenate([np.arange(count), again])
    arrived_us = columns["ts"][rows] + delay_us[rows]
    arrived_us[count:] += random.integers(1, 300, len(again)) * SECOND_US
    order = np.lexsort((columns["user"][rows], columns["ts"][rows], arrived_us))
    rows, arrived_us = rows[order], arrived_us[order]
    users = pa.array([user_name(user) for user in range(columns["user"].max() + 1)])
    items = pa.array([item_name(item) for item in range(ITEMS)])
    return pa.table({
        "user_id": users.take(pa.array(columns["user"][rows])), "item_id": items.take(pa.array(columns["item"][rows])),
        "kind": pa.array(KINDS).take(pa.array(columns["kind"][rows])),
        "ts": instants(columns["ts"][rows]), "arrived": instants(arrived_us),
    })


def decisions(world, catalogue, happened, count):
    """The spine: a second after a view the shop ranks CANDIDATES items; one of them is seen next, the others are drawn evenly.

    None stands at the last view of a visit, after which nothing is seen.
    """
    random = world.random("decisions")
    nexts = {}
    for earlier, later in next_views(happened):
        if earlier.ts_us >= START_US + DECISIONS_FROM_US and catalogue.on_sale[catalogue.hour_of(earlier.ts_us), later.item]:
            nexts[earlier] = later.item
    views = sorted(nexts, key=lambda view: (view.ts_us, view.user))
    rows = []
    for place in sorted(random.choice(len(views), min(count, len(views)), replace=False)):
        view = views[place]
        others = np.flatnonzero(catalogue.on_sale[catalogue.hour_of(view.ts_us)])
        others = others[(others != nexts[view]) & (others != view.item)]
        items = sorted([nexts[view], *random.choice(others, CANDIDATES - 1, replace=False)])
        rows += [(user_name(view.user), item_name(item), view.ts_us + SECOND_US, item == nexts[view]) for item in items]
    users, items, instants_us, labels = zip(*rows)
    return pa.table({"user_id": users, "item_id": items, "ts": instants(instants_us), "viewed_next": labels})


def next_views(happened):
    """Pairs of a view and the next one of the same visit."""
    earlier = None
    for action in happened:
        if action.kind == VIEW:
            if earlier is not None:
                yield earlier, action
            earlier = action
        if action.visit_ends:
            earlier = None


def item_name(item):
    return f"i{item + 1:03}"


def user_name(user):
    return f"u{user:04}"


def instants(microseconds):
    return pa.array(np.asarray(microseconds, np.int64)).cast(pa.timestamp("us"))


def write(path, table, repeating):
    """A Parquet file; columns of few different values get a dictionary."""
    pq.write_table(table, path, compression="zstd", use_dictionary=repeating)


if __name__ == "__main__":
    main()
