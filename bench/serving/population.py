"""How many there are of everything in the generated events, and how a request draws one as the events do."""

ACCOUNTS, MERCHANTS = 100_000, 50_000
HOT_ACCOUNT = 0  # no other event has it
ITEMS, USERS = 50_000, 200_000
CHURN_ENTITIES, CHURN_PER_DAY = 20_000, 0.05


def skewed(chance, ids):
    """An id from 0 on: `ids · u³`, as generate.py draws them."""
    return int(ids * chance.random() ** 3)
