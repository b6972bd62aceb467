"""Histograms of /metrics: what was observed between two answers."""

import re


def buckets(text, name):
    """Observations up to each edge, in the order of the edges; all labels together."""
    counts = {}
    for labels, value in re.findall(rf"^{name}_bucket\{{(.*?)\}} (\S+)$", text, re.M):
        edge = float(re.search(r'le="([^"]+)"', labels)[1].replace("+Inf", "inf"))
        counts[edge] = counts.get(edge, 0) + float(value)
    return dict(sorted(counts.items()))


def between(before, after):
    return {edge: count - before.get(edge, 0) for edge, count in after.items()}


def at_most(counts, share):
    """The edge that this share of the observations does not exceed; None without observations."""
    total = max(counts.values(), default=0)
    return next((edge for edge, count in counts.items() if total and count >= share * total), None)
