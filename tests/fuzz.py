#!/usr/bin/env python3
"""Random jobs over random data, each run by minispark in several ways and as SQL by DuckDB.

Every job is made from one seed, which is printed with what differed: `fuzz.py --seed N --jobs 1` runs
that job again, and `--keep FOLDER` leaves its files. A job is run embedded as it is, and with other
`partitions`, threads and tiny memory budgets; `minispark explain --format sql` writes the statement
that DuckDB runs. Rows are compared as multisets (floats within 1e-9 of their size, all else exactly),
in sequence where the result has an order. Text results have the same bytes in every configuration,
and what a writer wrote reads back as the same rows.

Where both refuse (an overflow, a bad cast) they agree. What differs on purpose stands in
`docs/differences.md`: `KNOWN` here, and what `fuzz_jobs.py` leaves out.
"""

import argparse
import concurrent.futures
import decimal
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import duckdb

from fuzz_jobs import Maker

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.join(os.path.dirname(HERE), "target", "release", "minispark")

# What minispark refuses and DuckDB computes: its whole numbers are of 64 bits where DuckDB's sums
# are of 128, it divides by zero nowhere, gives no text of more than 16 MiB, and may make a day of a row
# that a filter behind drops.
KNOWN = re.compile(
    r"overflow|division by zero|divi\w+ by zero|modulo by zero|out of range|does not fit|beyond|no value|longer than|there is no day",
    re.IGNORECASE)
# What minispark computes and DuckDB refuses, in its words: it computes what no row needs, and its
# dates and whole numbers end earlier in between.
STRICTER = re.compile(r"Out of Range|Overflow|Conversion Error|Invalid Input Error|Could not convert", re.IGNORECASE)
# What SQL can't say.
UNSAID = re.compile(r"follows the rows of files|first row in files|limit over rows without order|one name in SQL")
# An operator that holds one side in memory may say that it can't (`MEMORY_LIMIT`).
HOLDS = ("join", "sql", "intersect", "except")


def minispark(command, binary):
    return subprocess.run([binary, *command], capture_output=True, text=True, timeout=180)


def with_sinks(job, last, partitions, target, text=True):
    """The job with its result as Parquet and as text, and with so many partitions of each source."""
    job = json.loads(json.dumps(job))
    nodes, edges = job["dag"]["nodes"], job["dag"]["edges"]
    for node in nodes:
        if node["op"].startswith("read_") and partitions:
            node["partitions"] = partitions
    if target:
        nodes += [{"id": "out", "op": "write_parquet", "path": target}]
        edges += [[last, "out"]]
        if text:
            nodes += [{"id": "text", "op": "cache"}]
            edges += [[last, "text"]]
    return job


def is_inexact(item):
    return isinstance(item, float) or isinstance(item, list) and any(map(is_inexact, item))


def close(left, right):
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(close, left, right))
    if left is None or right is None or not (is_inexact(left) or is_inexact(right)):
        return left == right
    left, right = float(left), float(right)
    return left == right or (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)


def exact_part(row):
    return repr([None if is_inexact(item) else int(item) if isinstance(item, bool) else str(item.normalize()) if isinstance(item, decimal.Decimal)
                 else str(decimal.Decimal(item).normalize()) if isinstance(item, int) else item for item in row])


def size(row):
    return [(item is None, math.isnan(item), 0.0 if math.isnan(item) else item) if isinstance(item, float) else (item is None, False, 0.0)
            for item in row]


def difference(ours, theirs, ordered):
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, and DuckDB has {len(theirs)}"
    inexact = any(is_inexact(item) for row in ours for item in row)
    if ordered and all(all(map(close, left, right)) for left, right in zip(ours, theirs)):
        return None
    groups = {}
    for side, rows in enumerate((ours, theirs)):
        for row in rows:
            groups.setdefault(exact_part(row), ([], []))[side].append(row)
    for left, right in groups.values():
        if len(left) != len(right):
            return f"{len(left)} times, {(left or right)[0]}, and DuckDB has it {len(right)} times of {len(theirs)} rows"
        # Floats of about one size may stand in another sequence.
        left, waiting = sorted(left, key=size), sorted(right, key=size)
        for row in left:
            at = next((at for at, other in enumerate(waiting) if all(map(close, row, other))), None)
            if at is None:
                return f"{row}, and DuckDB has {waiting[0]}"
            del waiting[at]
    if ordered and not inexact:
        return "the rows of DuckDB in another order"
    return None


def reread(connection, rng, last, folder, options):
    """What another writer wrote of the result, read back; why it differs."""
    form = rng.choice(["parquet", "arrow", "csv", "jsonl"])
    source, target, back = (os.path.join(folder, name) for name in ("out0", "written", "back"))
    write = {"id": "w", "op": f"write_{form}", "path": target}
    schema = [row[:2] for row in connection.execute(f"describe from read_parquet('{source}/*.parquet')").fetchall()]
    # JSON has no NaN, and texts of folders become numbers and dates where they look like them.
    if form == "jsonl" and any(kind in ("DOUBLE", "FLOAT") for _, kind in schema):
        return None
    by = [name for name, kind in schema if kind in ("BIGINT", "DATE")]
    # A folder that has no rows has no files, and so says nothing of its columns.
    if by and len(schema) > 1 and rng.random() < 0.5 and connection.execute(f"select count(*) from read_parquet('{source}/*.parquet')").fetchall()[0][0]:
        write["partition_by"] = [rng.choice(by)]
    write |= {"header": True} if form == "csv" else {}
    read = {"id": "r", "op": f"read_{form}", "path": target}
    if form in ("csv", "jsonl"):
        names = {"BIGINT": "int64", "INTEGER": "int32", "SMALLINT": "int16", "UTINYINT": "uint8", "UBIGINT": "uint64", "DOUBLE": "float64",
                 "FLOAT": "float32", "VARCHAR": "string", "BOOLEAN": "bool", "DATE": "date", "TIME": "time", "TIMESTAMP": "timestamp",
                 "TIMESTAMP WITH TIME ZONE": "timestamp_tz", "BLOB": "binary"}
        kinds = {name: names.get(kind, kind.lower() if kind.startswith("DECIMAL") else None) for name, kind in schema}
        if None in kinds.values() or form == "csv" and len(kinds) - len(write.get("partition_by", [])) < 2:
            return None
        read["columns"] = {name: kind for name, kind in kinds.items() if name not in write.get("partition_by", [])}
        read |= {"header": True} if form == "csv" else {}
    for nodes in ([{"id": "s", "op": "read_parquet", "path": source}, write], [read, {"id": "b", "op": "write_parquet", "path": back}]):
        path = os.path.join(folder, "again.json")
        with open(path, "w") as file:
            json.dump({"dag": {"nodes": nodes, "edges": [[nodes[0]["id"], nodes[1]["id"]]]}}, file)
        done = minispark(["run", path, "--output-dir", os.path.join(folder, "o"), "--show", "0"], options.binary)
        if done.returncode != 0:
            return f"{form} {write}: exit {done.returncode}: {done.stderr.strip()[-600:]}"
    columns = ", ".join(f'"{name}"' for name, _ in schema)
    ours, theirs = (connection.execute(f"select {columns} from read_parquet('{where}/*.parquet')").fetchall() for where in (back, source))
    found = difference(ours, theirs, ordered=False)
    return found and f"read back from {form} {write}: {found}".replace("DuckDB", "the result")


def one(seed, options):
    """Why a job differs; None where it doesn't, and whether it was compared with rows at all."""
    rng = random.Random(seed)
    folder = os.path.join(options.keep or tempfile.gettempdir(), f"fuzz-{os.getpid()}-{seed}")
    os.makedirs(folder)
    try:
        maker = Maker(rng, folder)
        job, last = maker.job()
        path = os.path.join(folder, "job.json")
        runs = [(None, None, 2), (rng.choice([1, 4, 16]), rng.choice(["4MiB", "1MiB"]), 1), (rng.choice([2, 7]), None, 2)]
        holds = any(node["op"] in HOLDS for node in job["dag"]["nodes"])
        outcomes, texts, kept = [], [], []
        for number, (partitions, memory, threads) in enumerate(runs):
            with open(path, "w") as file:
                json.dump(with_sinks(job, last.name, partitions, os.path.join(folder, f"out{number}")), file, indent=1)
            out = os.path.join(folder, f"text{number}")
            command = ["run", path, "--output-dir", out, "--show", "0", "--threads", str(threads)]
            done = minispark(command + (["--memory", memory] if memory else []), options.binary)
            if done.returncode not in (0, 3, 7):
                return f"exit {done.returncode}: {done.stderr.strip()[-600:]}", False
            if done.returncode == 7 and memory and "MEMORY_LIMIT" in done.stderr and holds:
                continue
            outcomes.append((done.returncode, done.stderr.strip()))
            if done.returncode == 0:
                kept.append(number)
                (result,) = [name for name in os.listdir(out) if name.endswith(".txt")]
                with open(os.path.join(out, result), "rb") as file:
                    texts.append(file.read())
        with open(path, "w") as file:
            json.dump(with_sinks(job, last.name, None, None), file, indent=1)
        codes = {code for code, _ in outcomes}
        if codes == {3}:
            return f"refused: {outcomes[0][1]}", False
        if len(codes) > 1:
            return f"some configurations fail: {outcomes}", False
        if len(set(texts)) > 1:
            return "text results differ between configurations", False
        explained = minispark(["explain", path, "--format", "sql"], options.binary)
        if explained.returncode != 0:
            return (None if UNSAID.search(explained.stderr) else f"no SQL: {explained.stderr.strip()}"), False
        connection = duckdb.connect()
        connection.execute("set threads = 1")
        connection.execute("set TimeZone = 'UTC'")
        try:
            answer = connection.execute(explained.stdout)
            names, theirs = [column[0] for column in answer.description], answer.fetchall()
        except duckdb.Error as error:
            if codes == {7} or STRICTER.search(f"{type(error).__name__} {error}"):
                return None, False
            return f"DuckDB refuses: {error}\n{explained.stdout}", False
        if codes == {7}:
            return (None if KNOWN.search(outcomes[0][1]) else f"failed: {outcomes[0][1]}"), False
        for number in kept:
            ours = connection.execute(f"from read_parquet('{folder}/out{number}/*.parquet', hive_partitioning = false)")
            found_names = [column[0] for column in ours.description]
            if found_names != names:
                return f"columns {found_names}, and DuckDB has {names}", True
            found = difference(ours.fetchall(), theirs, ordered=maker.sorted)
            if found:
                return f"run {runs[number]}: {found}\n{explained.stdout}", True
        return reread(connection, rng, last, folder, options), True
    except subprocess.TimeoutExpired as error:
        return f"no end: {error}", False
    except duckdb.Error as error:
        return f"can't be read: {error}", False
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=BINARY)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=2, help="jobs that are run side by side")
    parser.add_argument("--keep", help="a folder that keeps each job's files")
    options = parser.parse_args()
    failures = compared = 0
    seeds = range(options.seed, options.seed + options.jobs)
    with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool:
        for seed, (found, has_rows) in zip(seeds, pool.map(lambda seed: one(seed, options), seeds)):
            compared += has_rows
            if found:
                failures += 1
                print(f"seed {seed}: {found}", flush=True)
    print(f"{options.jobs} jobs from seed {options.seed}: {compared} compared row by row with DuckDB "
          f"{duckdb.__version__}, {failures} differ")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
