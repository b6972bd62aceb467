"""What was sent and how it was answered, and what must therefore be in the log: each used event once, and nothing else."""

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass

REFUSED_SHOWN_MAX = 100  # rows that an answer lists


@dataclass
class Batch:
    """Events of one post, in its order: (client, number) of each; several may be the same."""

    stream: str
    events: list
    values: list  # what each was sent with: the columns of `live_project.SENT`
    is_keyed: bool  # sent with an Idempotency-Key


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.answered = []  # of (Batch, answer)
        self.used_at_least = defaultdict(Counter)  # stream → client → events
        self.retries = 0

    def add(self, batch, answer, retries):
        with self.lock:
            self.answered.append((batch, answer))
            self.retries += retries
            for client in {client for client, _ in batch.events}:
                self.used_at_least[batch.stream][client] += answer["accepted"]

    def acknowledged(self):
        """A copy of `used_at_least`, of this moment."""
        with self.lock:
            return {stream: dict(counts) for stream, counts in self.used_at_least.items()}

    def events(self):
        return sum(len(batch.events) for batch, _ in self.answered)

    def sent(self, stream):
        """By event all values that it was sent with."""
        values = defaultdict(set)
        for batch, _ in self.answered:
            if batch.stream == stream:
                for event, sent in zip(batch.events, batch.values, strict=True):
                    values[event].add(sent)
        return values

    def counts(self, stream):
        """Accepted, duplicate, late and rejected events of the answers."""
        totals = Counter()
        for batch, answer in self.answered:
            if batch.stream == stream:
                totals.update({name: answer[name] for name in ("accepted", "duplicates", "late", "rejected")})
        return totals

    def check_answers(self, findings):
        """Each answer accounts for each row."""
        for batch, answer in self.answered:
            told = answer["accepted"] + answer["duplicates"] + answer["late"] + answer["rejected"]
            findings.claim(told == len(batch.events), f"{len(batch.events)} events of {batch.stream} were answered with {answer}")

    def check_log(self, stream, logged, findings):
        """`logged`: (client, number) of every used event of the stream's log."""
        times = Counter(logged)
        twice = [event for event, count in times.items() if count > 1]
        findings.claim(not twice, f"{stream}: {len(twice)} events are counted more than once, such as {twice[:5]}")
        known = set()
        for batch, answer in self.answered:
            if batch.stream == stream:
                known.update(batch.events)
                check_batch(batch, answer, times, findings)
        strange = set(times) - known
        findings.claim(not strange, f"{stream}: {len(strange)} events in the log were not answered for: {list(strange)[:5]}")


def check_batch(batch, answer, times, findings):
    """The events of a batch that are in the log are those that its answer says."""
    logged = {event for event in batch.events if times[event]}
    if batch.is_keyed:
        findings.claim(len(logged) == answer["accepted"], f"{batch.stream}: {len(logged)} of {batch.events} are in the log, "
                       f"the answer was {answer}")
    refused = {row["row"] for row in answer["refused"]}
    # A batch that is answered again is not judged again: only its counts are told.
    if len(refused) == answer["late"] + answer["rejected"]:
        used = {event for row, event in enumerate(batch.events) if row not in refused}
        lost = used - logged
        findings.claim(not lost, f"{batch.stream}: {sorted(lost)[:5]} were acknowledged and are not in the log ({answer})")
