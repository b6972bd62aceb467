"""Ranks candidates for a user, by the features of a running server.

    asof run DIR                                                                   in another terminal
    python rerank.py USER ITEM [ITEM …] [--as-of INSTANT] [--url URL]

What an item is worth showing is `score`: category affinity × popularity. worth.py puts the same function to a training set.
"""

import argparse
import json
import urllib.error
import urllib.request

URL = "http://127.0.0.1:6566"
CATEGORIES = 8
TASTE_VIEWS = 1.0  # the taste of the week weighs as much as so many views of this visit
ANY_VIEWS = 0.5    # and a liking for anything as so many


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("user")
    parser.add_argument("items", nargs="+", metavar="item")
    parser.add_argument("--as-of", help="an instant, RFC 3339; without it as of now")
    parser.add_argument("--url", default=URL)
    options = parser.parse_args()
    instant = options.as_of or call(options.url + "/v1/objects")["now"]
    vectors = read(options.url, options.user, options.items, instant)
    print(f"{options.user} as of {instant}\n")
    print(f"{'item':6}{'category':10}{'affinity':>9}{'popularity':>12}{'score':>8}")
    for item, vector in sorted(zip(options.items, vectors), key=lambda pair: (-score(pair[1], pair[0]), pair[0])):
        shown = f"{affinity(vector):9.3f}{popularity(vector):12.2f}{score(vector, item):8.3f}"
        print(f"{item:6}{vector['category'] or '–':10}{shown}")


def score(vector, item):
    """What may be shown next: not what is withdrawn, and not what was just seen."""
    if vector["category"] is None or item in (vector["last_items"] or []):
        return 0.0
    return affinity(vector) * popularity(vector)


def affinity(vector):
    """The share of the candidate's category in what the user looks at: in this visit, then in the week, then anything."""
    visit, week = vector["visit_categories"] or {}, vector["week_categories"] or {}
    liked = week.get(vector["category"], 0) / sum(week.values()) if week else 1 / CATEGORIES
    views = visit.get(vector["category"], 0) + TASTE_VIEWS * liked + ANY_VIEWS / CATEGORIES
    return views / (sum(visit.values()) + TASTE_VIEWS + ANY_VIEWS)


def popularity(vector):
    """Views in an hour: of the last one, and in the mean of the last day with an action before, lest a quiet hour hide an item."""
    return vector["views_1h"] + (vector["views_day_before"] or 0) / 24


def read(url, user, items, instant):
    """The vector of each item as a dictionary: one call, and so one position and one instant for all."""
    rows = [{"user_id": user, "item_id": item, "ts": instant} for item in items]
    answer = call(f"{url}/v1/services/rank_v1/features", {"rows": rows, "as_of": instant})
    return [dict(zip(answer["columns"], row)) for row in answer["rows"]]


def call(address, body=None):
    request = urllib.request.Request(address, None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        raise SystemExit(f"{address}: {refused.code} {refused.read().decode()}") from None
    except OSError as unanswered:
        hint = "start it with `asof run DIR`, in another terminal, or name it with --url"
        raise SystemExit(f"no answer from a server at {address}: {unanswered}\n{hint}") from None


if __name__ == "__main__":
    main()
