#!/usr/bin/env python3
"""Runs the benchmark jobs (TPC-H, db-benchmark) and compares each result with DuckDB's, row by row.

Rows are compared as a multiset: all values exactly, floats within 1e-9 of their size. Where the
benchmark asks for an order, the sequence of the order's columns is compared as well. Large results
are compared inside DuckDB: rows, the exact columns as a multiset, and the sums of the float columns.
"""

import argparse
import decimal
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import duckdb

HERE = os.path.dirname(os.path.abspath(__file__))
JOBS = os.path.join(os.path.dirname(HERE), "jobs")
TPCH_TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]
LARGE = 200_000


def suites(size):
    """Name of a suite -> (documents, their folder's parameters, tables, SQL of a document's name)."""
    h2o_tables = {"x": f"G1_{size}", "small": f"J1_{size}_small", "medium": f"J1_{size}_medium", "big": f"J1_{size}_big"}
    return {
        "tpch": ("tpch", {}, {table: table for table in TPCH_TABLES}),
        "tpch-sql": ("tpch/sql", {}, {table: table for table in TPCH_TABLES}),
        "h2o": ("h2o", {"size": size}, h2o_tables),
    }


def prepare(document, parameters, target):
    """The job with its parameters, and its result in a folder of Parquet files."""
    job = json.load(open(document))
    job["params"] = {**job.get("params", {}), **parameters}
    nodes, edges = job["dag"]["nodes"], job["dag"]["edges"]
    begun = {edge[0] for edge in edges}
    (leaf,) = [node["id"] for node in nodes if node["id"] not in begun]
    nodes.append({"id": "compared", "op": "write_parquet", "path": target})
    edges.append([leaf, "compared"])
    return job


def run(options, job, folder):
    """Runs a job to its end; the seconds that it took."""
    path = os.path.join(folder, "job.json")
    with open(path, "w") as file:
        json.dump(job, file)
    if options.cluster:
        command = [options.binary, "--server", options.cluster, "submit", "--wait", path]
    else:
        command = [options.binary, "run", path, "--output-dir", os.path.join(folder, "output"), "--show", "0"]
        command += ["--threads", str(options.threads)] + (["--memory", options.memory] if options.memory else [])
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr or done.stdout).strip())
    return time.perf_counter() - started


def is_float(kind):
    return kind in ("FLOAT", "DOUBLE")


def same_value(left, right):
    if isinstance(left, (float, decimal.Decimal)) or isinstance(right, (float, decimal.Decimal)):
        if left is None or right is None:
            # The correlation with a constant does not exist: null here, NaN in DuckDB.
            return left is right or (left is None and right != right)
        left, right = float(left), float(right)
        return left == right or math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12) or (left != left and right != right)
    return left == right


def sort_key(row):
    """Values that may differ in their last digits must not decide about the order of rows."""
    return [
        (value is None, 0 if value is None else float(f"{float(value):.8g}") if isinstance(value, (float, decimal.Decimal)) else value)
        for value in row
    ]


def same_rows(ours, theirs):
    """Why two multisets of rows differ; None where they don't."""
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, and DuckDB has {len(theirs)}"
    for left, right in zip(sorted(ours, key=sort_key), sorted(theirs, key=sort_key)):
        if not all(map(same_value, left, right)):
            return f"{left}, and DuckDB has {right}"
    return None


def order_columns(sql):
    """The columns of the last ORDER BY of a query."""
    found = re.search(r"order\s+by([^()]*?)(limit\s+\d+\s*)?;?\s*$", sql, re.IGNORECASE)
    return [key.split()[0] for key in found.group(1).split(",")] if found else []


def described(connection, source):
    """The names of a table's columns in lower case, and their types."""
    columns = connection.execute(f"describe from {source}").fetchall()
    return [column[0].lower() for column in columns], [column[1] for column in columns]


def compare(connection, target, sql):
    """Why the result differs from DuckDB's; None where it doesn't."""
    files = f"read_parquet('{target}/*.parquet')"
    connection.execute(f"create or replace temp table theirs as {sql.rstrip().rstrip(';')}")
    names = [described(connection, source)[0] for source in (files, "theirs")]
    if len(names[0]) != len(names[1]):
        return f"columns {names[0]}, and DuckDB has {names[1]}"
    (rows,) = connection.execute("select count(*) from theirs").fetchall()[0]
    if rows > LARGE:
        return compare_large(connection, files, names[0])
    left, right = (connection.execute(f"from {source}").fetchall() for source in (files, "theirs"))
    difference = same_rows(left, right)
    if difference is None:
        places = [names[1].index(name.lower()) for name in order_columns(sql) if name.lower() in names[1]]
        for mine, other in zip(left, right):
            if not all(same_value(mine[place], other[place]) for place in places):
                return f"another order: {mine}, and DuckDB has {other}"
    return difference


def compare_large(connection, files, names):
    kinds = described(connection, "theirs")[1]
    casts = ", ".join(f'cast("{name}" as {kind}) as "{name}"' for name, kind in zip(names, kinds))
    connection.execute(f"create or replace temp view ours as select {casts} from {files}")
    exact = ", ".join(f'"{name}"' for name, kind in zip(names, kinds) if not is_float(kind))
    floats = [f'"{name}"' for name, kind in zip(names, kinds) if is_float(kind)]
    # With the other columns as weights, floats that changed places are noticed too.
    weighted = [f"fsum({name} * (1 + hash({exact}) % 1009)), count({name})" for name in floats]
    facts = ", ".join(["count(*)", f"sum(hash({exact}) % 1000000007)", *weighted])
    ours, theirs = (
        connection.execute(f"select {facts} from {source}").fetchall()[0] for source in ("ours", "theirs")
    )
    if all(map(same_value, ours, theirs)):
        return None
    return f"rows, checksum and sums are {ours}, and DuckDB has {theirs}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=os.path.join(os.path.dirname(HERE), "target", "release", "minispark"))
    parser.add_argument("--tpch", help="the folder of TPC-H's tables as Parquet files")
    parser.add_argument("--h2o", help="the folder of the db-benchmark's tables as Parquet files")
    parser.add_argument("--size", default="1e7", help="the size in the names of the db-benchmark's tables")
    parser.add_argument("--only", default="", help="run the documents whose path has this in it")
    parser.add_argument("--cluster", help="the URL of a master that is to run the jobs")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--memory", help="the memory budget of each run")
    options = parser.parse_args()
    failures, lines = 0, []
    connection = duckdb.connect()
    connection.execute(f"set threads={options.threads}")
    for suite, (folder, parameters, tables) in suites(options.size).items():
        data = options.tpch if suite.startswith("tpch") else options.h2o
        if not data:
            continue
        documents = sorted(name for name in os.listdir(os.path.join(JOBS, folder)) if name.endswith(".json"))
        for name in documents:
            document = os.path.join(JOBS, folder, name)
            if options.only not in document:
                continue
            stem = name[: -len(".json")]
            for table, file in tables.items():
                if suite == "h2o" and table == "x" and stem.startswith("join"):
                    file = file.replace("G1_", "J1_") + "_x"
                connection.execute(f"create or replace view {table} as from read_parquet('{data}/{file}.parquet')")
            sql_folder = os.path.join(JOBS, folder if folder.endswith("sql") else f"{folder}/sql")
            sql = open(os.path.join(sql_folder, f"{stem}.sql")).read()
            # The benchmark gives intervals a precision, which DuckDB's grammar does not know.
            sql = re.sub(r"(interval '\d+' \w+) \(\d+\)", r"\1", sql)
            scratch = tempfile.mkdtemp(prefix="queries-")
            try:
                target = os.path.join(scratch, "result")
                job = prepare(document, {"data": os.path.abspath(data), **parameters}, target)
                seconds = run(options, job, scratch)
                started = time.perf_counter()
                difference = compare(connection, target, sql)
                theirs = time.perf_counter() - started
            except (RuntimeError, duckdb.Error, ValueError) as error:
                seconds, theirs, difference = 0, 0, f"{type(error).__name__}: {error}"
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            failures += difference is not None
            verdict = "equal" if difference is None else f"DIFFERENT: {difference}"
            line = f"{suite} {stem}: {verdict} ({seconds:.2f} s)"
            print(line, flush=True)
            lines.append(line)
    print(f"{len(lines) - failures} of {len(lines)} equal DuckDB {duckdb.__version__}")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
