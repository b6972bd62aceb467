"""What the checks found: how much was compared, and what was not equal."""

import threading

SHOWN_MAX = 20


class Findings:
    def __init__(self):
        self.lock = threading.Lock()
        self.values = self.claims = self.wrong = 0

    def tell(self, message):
        """Something is not as it must be."""
        with self.lock:
            self.wrong += 1
            if self.wrong <= SHOWN_MAX:
                print(f"DIFFERENT {message}", flush=True)
            elif self.wrong == SHOWN_MAX + 1:
                print("… and more, which are only counted", flush=True)

    def claim(self, holds, message):
        """Counts something that must hold, and tells of it if it does not."""
        with self.lock:
            self.claims += 1
        if not holds:
            self.tell(message)

    def compare(self, where, target, rows, served, history):
        """Rows of tokens, value by value."""
        with self.lock:
            self.values += len(served) * len(target.columns)
        if len(served) != len(history):
            self.tell(f"{where} {target.name}: {len(served)} rows served, {len(history)} of history")
        elif served != history:
            for place, (ours, theirs) in enumerate(zip(served, history)):
                for feature, one, other in zip(target.columns, ours, theirs):
                    if one != other:
                        key = rows.slice(place, 1).to_pylist()[0]
                        self.tell(f"{where} {target.name} {key} {feature}: served {shown(one)}, history {shown(other)}")


def shown(token):
    """A token as it stands in JSON."""
    return token[1:] if isinstance(token, str) and token.startswith("#") else repr(token)
