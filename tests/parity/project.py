"""Reads as much of a project's SQL as the parity test needs: its streams, and its views as text for another engine.

This is no second parser of the language: it takes valid projects apart at their parentheses and commas, nothing more.
"""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Column:
    name: str
    type: str
    not_null: bool
    check: str | None


@dataclass
class Stream:
    name: str
    columns: list
    primary_key: list
    enforced: bool
    time: str
    options: dict


@dataclass
class View:
    name: str
    stream: str
    select: str  # the text after AS, unchanged
    key: list  # the expressions of PARTITION BY, calendar buckets left out
    features: dict  # output name → text


def read(folder):
    """The streams and views of a project folder, by name."""
    text = "\n".join(path.read_text() for path in sorted(Path(folder).glob("*.sql")))
    text = re.sub(r"--[^\n]*", "", text)
    streams, views = {}, {}
    for statement in split(text, ";"):
        if match := re.match(r"CREATE\s+STREAM\s+(\w+)\s*\(", statement, re.I):
            streams[match[1]] = stream(match[1], statement, match.end())
        elif match := re.match(r"CREATE\s+FEATURE\s+VIEW\s+(\w+)\s+AS\s+", statement, re.I):
            views[match[1]] = view(match[1], statement[match.end():])
    for one in views.values():  # now that all streams are known, whatever the order of definition
        time = streams[one.stream].time
        one.key = [part for part in one.key if not re.match(rf"date_trunc\s*\(.*,\s*{time}\s*\)$", part, re.I | re.S)]
    return streams, views


def split(text, separator):
    """The parts of the text between separators outside parentheses and quotes, stripped, empty ones left out."""
    parts, depth, quote, begin = [], 0, None, 0
    for place, sign in enumerate(text):
        if quote:
            quote = None if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "()":
            depth += 1 if sign == "(" else -1
        elif sign == separator and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
    return [part.strip() for part in [*parts, text[begin:]] if part.strip()]


def closing(text, begin):
    """The place of the parenthesis that closes the one just before `begin`."""
    depth = 1
    for place in range(begin, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"unbalanced parentheses in `{text[:60]}`")


def stream(name, statement, begin):
    end = closing(statement, begin)
    found = Stream(name, [], [], True, "", dict(re.findall(r"(\w+)\s*=\s*'([^']*)'", statement[end:])))
    for part in split(statement[begin:end], ","):
        if match := re.match(r"PRIMARY\s+KEY\s*\(([^)]*)\)(.*)", part, re.I | re.S):
            found.primary_key = split(match[1], ",")
            found.enforced = "NOT" not in match[2].upper()
        elif match := re.match(r"WATERMARK\s+FOR\s+(\w+)", part, re.I):
            found.time = match[1]
        else:
            found.columns.append(column(part))
    return found


def column(part):
    name, rest = part.split(None, 1)
    check = None
    if match := re.search(r"\bCHECK\s*\(", rest, re.I):
        end = closing(rest, match.end())
        check, rest = rest[match.end():end], rest[:match.start()] + rest[end + 1:]
    not_null = re.search(r"\bNOT\s+NULL\b", rest, re.I)
    return Column(name, re.sub(r"\bNOT\s+NULL\b", "", rest, flags=re.I).strip(), bool(not_null), check)


def view(name, select):
    head = re.match(r"SELECT\s+(.*?)\bFROM\s+(\w+)\s*(?:$|WHERE\b|WINDOW\b)", select, re.I | re.S)
    features = {}
    for item in split(head[1], ","):
        if match := re.match(r"(.*)\bAS\s+(\w+)$", item, re.I | re.S):
            features[match[2]] = match[1].strip()
    partition = re.search(r"PARTITION\s+BY\s+(.*?)\s+ORDER\s+BY", select, re.I | re.S)[1]
    key = split(partition, ",")
    features = {name: text for name, text in features.items() if re.search(r"\bOVER\b", text, re.I)}
    return View(name, head[2], select, key, features)
