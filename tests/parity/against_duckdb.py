"""The features of a project against a second program for them in DuckDB, value by value, for the `check_views.py` of the examples.

`ours` is the table that `asof history` writes, `theirs` what a SELECT gives in DuckDB. They are joined by a key, of which each
must have every value once. Everything must be equal but doubles, which DuckDB adds up one after the other: those within TOLERANCE
of their size, or of 1 where they are smaller. A feature of which nothing but NULL was compared counts as a difference.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

TOLERANCE = 1e-9
HEAD = "| of | feature | compared | not NULL | equal | near | different |\n|---|---|---:|---:|---:|---:|---:|"


class Comparison:
    """Prints a row for each feature, and counts the values and the differences."""

    def __init__(self, asof, project, connection, not_features, tolerances=None):
        """`not_features`: columns of history that are no features. `tolerances`: feature → its own one."""
        self.asof, self.project, self.connection = asof, project, connection
        self.not_features, self.tolerances = not_features, tolerances or {}
        self.values = self.differences = 0

    def compare(self, name, key, select, *what, repeats=False):
        """`what`: the options of `asof history`. `repeats`: events may share a key; their rows must be equal, and count once."""
        features = self.history(*what)
        assert features, f"{name} has no feature"
        self.connection.execute(f"CREATE OR REPLACE TABLE theirs AS {select}")
        using = ", ".join(key)
        if repeats:
            for table in ("ours", "theirs"):
                columns = ", ".join([*key, *features])
                self.connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT DISTINCT {columns} FROM {table}")
        unmatched = self.unmatched(using)
        if unmatched:
            print(f"| {name} | rows that do not stand once in each of the two | | | | | {unmatched:,} |")
        different = [self.compare_feature(name, using, feature, kind) for feature, kind in features.items()]
        self.differences += unmatched + sum(different)

    def history(self, *what):
        """Makes `ours`; returns its features with their types."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "ours.parquet"
            said = subprocess.run([self.asof, "history", self.project, *what, "--out", out], capture_output=True, text=True)
            if said.returncode != 0:
                sys.exit(f"asof history failed on {what}:\n{said.stdout}{said.stderr}")
            self.connection.execute(f"CREATE OR REPLACE TABLE ours AS FROM read_parquet('{out}')")
        columns = self.connection.execute("SELECT column_name, column_type FROM (DESCRIBE ours)").fetchall()
        return {name: kind for name, kind in columns if name not in self.not_features}

    def unmatched(self, using):
        """Rows without a partner, or with more than one."""
        query = "SELECT (SELECT count(*) FROM ours FULL {join}) - (SELECT count(*) FROM (SELECT DISTINCT {using} FROM ours {join}))"
        return self.connection.execute(query.format(join=f"JOIN theirs USING ({using})", using=using)).fetchone()[0]

    def compare_feature(self, name, using, feature, kind):
        """Returns the number of differences."""
        ours, theirs, near = f"ours.{feature}", f"theirs.{feature}", "false"
        if kind == "DOUBLE":
            tolerance = self.tolerances.get(feature, TOLERANCE)
            near = f"coalesce(abs({ours} - {theirs}) <= {tolerance} * greatest(abs({ours}), 1), false)"
        equal = f"({ours} IS NOT DISTINCT FROM {theirs})"
        compared, known, same, close = self.connection.execute(
            f"SELECT count(*), count({ours}), count(*) FILTER ({equal}), count(*) FILTER (NOT {equal} AND {near}) "
            f"FROM ours JOIN theirs USING ({using})"
        ).fetchone()
        different = compared - same - close
        if not known:
            different += 1
            print(f"{name}.{feature}: nothing but NULL was compared", file=sys.stderr)
        print(f"| {name} | {feature} | {compared:,} | {known:,} | {same:,} | {close:,} | {different:,} |")
        self.values += compared
        return different
