#!/usr/bin/env python3
"""What an answer is, in a few numbers that do not depend on the order of its rows.

digest.py PATH... prints one for each: an Arrow file, a file of CSV or Parquet, or a folder of such.
A digest has the rows, a hash of the exact columns and sums of the others: floats, and decimals with
places, whose scale differs between systems. Each is summed as it is and weighted by its row's hash, so that
values that changed their rows are noticed. Columns go by their place, not by their names.
"""

import glob
import json
import os
import sys

TOLERANCE = 1e-6


def of_table(table) -> dict:
    """The digest of an Arrow table."""
    import pyarrow as pa

    def is_inexact(kind) -> bool:
        return pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and kind.scale > 0)

    inexact = [is_inexact(field.type) for field in table.schema]
    table = table.rename_columns([f"c{number}" for number in range(table.num_columns)])
    return of_relation("answer", inexact, {"answer": table})


def of_relation(source: str, inexact: list[bool], tables: dict | None = None) -> dict:
    """The digest of what DuckDB can select from, with columns c0, c1, ..."""
    import duckdb

    connection = duckdb.connect()
    for name, table in (tables or {}).items():
        connection.register(name, table)
    exact = [f"coalesce(c{number}::VARCHAR, 'NULL')" for number, is_float in enumerate(inexact) if not is_float]
    floats = [f"c{number}::DOUBLE" for number, is_float in enumerate(inexact) if is_float]
    sums = [f"sum({value}), sum({value} * (1 + h % 1009)), count({value})" for value in floats]
    hashed = f"hash(concat_ws('|', {', '.join(exact)}))" if exact else "0"
    rows = f"SELECT *, {hashed} AS h FROM {source}"
    facts = connection.execute(f"SELECT {', '.join(['count(*)', 'sum(h)', *sums])} FROM ({rows})").fetchone()
    rows, hash_sum, *sums = facts
    return {"rows": rows, "hash": str(int(hash_sum or 0) % (1 << 64)), "sums": [float(value or 0) for value in sums]}


def files_of(path: str) -> list[str]:
    """The data files of an answer, in their order; those of folders `column=value` as well, whose column is not read."""
    if os.path.isfile(path):
        return [path]
    names = glob.glob(os.path.join(path, "**", "*"), recursive=True)
    return sorted(name for name in names if os.path.isfile(name) and os.path.basename(name)[0] not in "_.")


def of_files(path: str) -> dict:
    """The digest of a file or folder of Parquet, Arrow or CSV without a header."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = files_of(path)
    if names and names[0].endswith(".arrow"):
        return of_table(pa.concat_tables([pa.ipc.open_file(name).read_all() for name in names]))
    listed = "[" + ", ".join(f"'{name}'" for name in names) + "]"
    if names and names[0].endswith(".parquet"):
        schema = pq.read_schema(names[0])
        columns = ", ".join(f"c{number}" for number in range(len(schema.names)))
        inexact = [pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and kind.scale > 0) for kind in schema.types]
        return of_relation(f"read_parquet({listed}) AS t({columns})", inexact)
    source = f"""read_csv({listed}, header=false, all_varchar=true, delim=',', quote='"')"""
    width = len(duckdb.connect().execute(f"SELECT * FROM {source} LIMIT 0").description)
    columns = ", ".join(f"c{number}" for number in range(width))
    return of_relation(f"{source} AS t({columns})", [False] * width)


def is_sorted(path: str, columns: list[str]) -> bool:
    """Whether the rows of an answer's Parquet files stand in the order of these columns."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.read_table(name, columns=columns) for name in files_of(path)])
    steps = np.zeros(table.num_rows - 1, dtype=np.int8)
    for column in columns:
        values = table[column].to_numpy()
        here = np.sign(np.diff(values)).astype(np.int8)
        steps = np.where(steps == 0, here, steps)
    return bool((steps >= 0).all())


def equal(one: dict | None, other: dict | None) -> bool:
    """Whether two digests are of the same answer."""
    if not one or not other or one["rows"] != other["rows"] or one["hash"] != other["hash"]:
        return False
    if len(one["sums"]) != len(other["sums"]):
        return False
    pairs = zip(one["sums"], other["sums"])
    return all(abs(left - right) <= TOLERANCE * max(1.0, abs(left)) for left, right in pairs)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(json.dumps(of_files(given)))
