"""Structured expressions and values as SQL text, for `check_cases.py --duckdb`."""
from datetime import timedelta

from scalars import EPOCH, Timestamp, duration_us

INFIX = {"=", "<>", "<", "<=", ">", ">=", "-", "+", "*", "/", "%", "||", "and", "or"}


def sql_of(expression, aggregate_sql):
    """The SQL text of a structured expression; `aggregate_sql(call)` writes the aggregates."""
    if isinstance(expression, dict):
        return "'" + expression["text"].replace("'", "''") + "'" if "text" in expression else aggregate_sql(expression)
    if isinstance(expression, str):
        return f'"{expression}"' if "." in expression else expression  # a column of a join has its alias before it
    if not isinstance(expression, list):
        return "NULL" if expression is None else str(expression).lower() if isinstance(expression, bool) else repr(expression)
    operator, *arguments = expression
    if operator == "cast":
        return f"CAST({sql_of(arguments[0], aggregate_sql)} AS {arguments[1]})"
    texts = [sql_of(argument, aggregate_sql) for argument in arguments]
    if operator in ("is null", "is not null"):
        return f"{texts[0]} {operator.upper()}"
    if operator in ("neg", "not"):
        return f"{'-' if operator == 'neg' else 'NOT '}{texts[0]}"
    if operator in INFIX:
        wrap = [f"({text})" if isinstance(part, list) and part[0] in INFIX else text for text, part in zip(texts, arguments)]
        return f" {operator.upper()} ".join(wrap)
    return f"{operator}({', '.join(texts)})"


def over_window(call):
    """An aggregate call as a user writes it."""
    argument = sql_of(call["of"], None) if "of" in call else "*"
    more = [sql_of(call["by"], None)] if "by" in call else [str(call[name]) for name in ("n", "q") if name in call]
    more += [f"INTERVAL '{duration_us(call['half_life'])}' MICROSECOND"] if "half_life" in call else []
    text = f"{call['agg']}({'DISTINCT ' if call.get('distinct') else ''}{', '.join([argument, *more])})"
    if "filter" in call:
        text += f" FILTER (WHERE {sql_of(call['filter'], None)})"
    return f"{text} OVER {call['over']}"


def naive(instant):
    return (EPOCH + timedelta(microseconds=instant)).replace(tzinfo=None)


def literal(value):
    if isinstance(value, Timestamp):
        return f"TIMESTAMP '{naive(value)}'"
    return sql_of({"text": value} if isinstance(value, str) else value, None)
