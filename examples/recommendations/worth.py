"""What fresh features are worth to the ranking: of the candidates of each decision, where stands the item seen next?

    python worth.py [--asof BINARY] [--project DIR]        needs `duckdb`, and the binary

Each decision of the spine has 30 candidates, one of which was seen next. They are ranked by the features of a training set
that `asof history` makes: as of the decision, from all actions up to it (fresh) or from those of them that had arrived by
then (as served), and as of an hour and a day earlier (a batch of that age).
recall@k: the share of decisions in which the item is among the first k. MRR: the mean of 1 ÷ its rank. Of equal scores
the one with the lower item_id stands first.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import duckdb

from rerank import affinity, popularity, score

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
TRAINING_SETS = {  # features → hours old, knowledge
    "fresh": (0, "event-time"),
    "fresh, as served": (0, "as-served"),
    "an hour old": (1, "event-time"),
    "a day old": (24, "event-time"),
}
RANKINGS = [  # by, features, the score of a candidate
    ("item_id", "fresh", lambda vector, item: 0.0),
    ("popularity", "a day old", lambda vector, item: popularity(vector)),
    ("popularity", "fresh", lambda vector, item: popularity(vector)),
    ("affinity", "fresh", lambda vector, item: affinity(vector)),
    ("affinity × popularity", "a day old", score),
    ("affinity × popularity", "an hour old", score),
    ("affinity × popularity", "fresh", score),
    ("affinity × popularity", "fresh, as served", score),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    parser.add_argument("--project", type=Path, default=HERE, help="a project made by generate.py")
    options = parser.parse_args()
    vectors = {name: training(options, *what) for name, what in TRAINING_SETS.items()}
    decisions, candidates = len(vectors["fresh"]), sum(map(len, vectors["fresh"].values()))
    print(f"{decisions:,} decisions, {candidates:,} candidates\n")
    print("| ranked by | features | recall@1 | recall@3 | recall@5 | MRR |\n|---|---|---:|---:|---:|---:|")
    for by, features, score_of in RANKINGS:
        ranks = [rank(ranked, score_of) for ranked in vectors[features].values()]
        recalls = " | ".join(f"{sum(rank <= k for rank in ranks) / decisions:.1%}" for k in (1, 3, 5))
        print(f"| {by} | {features} | {recalls} | {sum(1 / rank for rank in ranks) / decisions:.3f} |")


def training(options, hours_old, knowledge):
    """Decision → its candidates: (item, whether it was seen next, its vector of so many hours before)."""
    connection = duckdb.connect()
    with tempfile.TemporaryDirectory() as folder:
        spine, out = Path(folder) / "spine.parquet", Path(folder) / "training.parquet"
        connection.execute(
            f"COPY (SELECT * REPLACE (ts - INTERVAL {hours_old} HOUR AS ts) "
            f"FROM read_parquet('{options.project / 'spine.parquet'}')) TO '{spine}'"
        )
        command = [options.asof, "history", options.project, "--service", "rank_v1", "--spine", spine, "--out", out]
        said = subprocess.run([*command, "--knowledge", knowledge], capture_output=True, text=True)
        if said.returncode != 0:
            sys.exit(f"asof history failed:\n{said.stdout}{said.stderr}")
        found = connection.execute(f"FROM read_parquet('{out}')")
        names, rows = [column[0] for column in found.description], found.fetchall()
    decisions = defaultdict(list)
    for row in rows:
        vector = dict(zip(names, row))
        decisions[vector["user_id"], vector["ts"]].append((vector["item_id"], vector["viewed_next"], vector))
    return decisions


def rank(candidates, score_of):
    """The place, from 1, of the candidate that was seen next."""
    ranked = sorted((-score_of(vector, item), item, seen_next) for item, seen_next, vector in candidates)
    return next(place for place, (_, _, seen_next) in enumerate(ranked, 1) if seen_next)


if __name__ == "__main__":
    main()
