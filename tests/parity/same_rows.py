"""Whether two projects hold the same rows in the same order: every Parquet file of theirs and of their `data`.

    python tests/parity/same_rows.py DIR DIR        needs `duckdb`

Compares values, not bytes, which name the program that wrote them. Prints a line for each file; exit 1 on any difference, or if
there is no file.
"""

import sys
from pathlib import Path

import duckdb


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    one, other = map(Path, sys.argv[1:])
    names = sorted(parquet_files(one) | parquet_files(other))
    different = [name for name in names if not same(name, one / name, other / name)]
    sys.exit(1 if different or not names else 0)


def parquet_files(project):
    """By their paths in the project."""
    return {str(path.relative_to(project)) for folder in (project, project / "data") for path in folder.glob("*.parquet")}


def same(name, one, other):
    missing = [path for path in (one, other) if not path.exists()]
    if missing:
        print(f"{name}: there is no {missing[0]}")
        return False
    for number, path in enumerate((one, other)):
        duckdb.execute(f"CREATE OR REPLACE TABLE rows_{number} AS FROM read_parquet('{path}', file_row_number = true)")
    shapes = [duckdb.execute(f"SELECT column_name, column_type FROM (DESCRIBE rows_{number})").fetchall() for number in (0, 1)]
    if shapes[0] != shapes[1]:
        print(f"{name}: the columns are {shapes[0]} and {shapes[1]}")
        return False
    counts = [duckdb.execute(f"SELECT count(*) FROM rows_{number}").fetchone()[0] for number in (0, 1)]
    # The number of its row stands in each, so that no row is there twice.
    (alike,) = duckdb.execute("SELECT count(*) FROM (FROM rows_0 INTERSECT FROM rows_1)").fetchone()
    if counts != [alike, alike]:
        print(f"{name}: {counts[0]:,} and {counts[1]:,} rows, {alike:,} of them the same at the same place")
        return False
    print(f"{name}: {alike:,} rows, the same")
    return True


if __name__ == "__main__":
    main()
