#!/usr/bin/env python3
"""Jobs as Spark runs them: their statements in Spark's dialect, compared row by row.

Each benchmark job (TPC-H, db-benchmark) is run by minispark, by DuckDB from the benchmark's own SQL,
and by Spark from what `explain --format sql --dialect spark` writes; the three results are compared as
`queries.py` compares them. Then random jobs of `fuzz_jobs.py`: where Spark's dialect says one, its rows
are compared with minispark's; how many it refuses, and why, is said at the end.

One session of Spark runs all, in ANSI mode and with UTC as its time zone, as the statements ask for.
"""

import argparse
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import duckdb
from pyspark.sql import SparkSession

import fuzz
import queries
from fuzz_jobs import Maker

# What one of the two refuses and the other computes, in minispark's words: a division by zero or a
# number that does not fit is an error here where Spark gives a null or an infinity, or in no row of it.
STRICTER = re.compile(fuzz.KNOWN.pattern + "|cannot cast", re.IGNORECASE)
# And in Spark's: it computes what no row needs.
THEIRS = re.compile(
    r"CAST_OVERFLOW|CAST_INVALID_INPUT|ARITHMETIC_OVERFLOW|DIVIDE_BY_ZERO|NUMERIC_VALUE_OUT_OF_RANGE|DATETIME_FIELD_OUT_OF_BOUNDS"
    r"|REMAINDER_BY_ZERO|DATETIME_OVERFLOW|INVALID_DATETIME|CANNOT_PARSE|BINARY_ARITHMETIC_OVERFLOW|INTERVAL_ARITHMETIC")

# A share of a sum of decimals has more digits there than Spark's decimals.
REFUSED = {"tpch q11": "Spark has no type for Decimal256"}


def session():
    settings = {
        "spark.ui.enabled": "false", "spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "1",
        "spark.sql.ansi.enabled": "true", "spark.driver.memory": "2g", "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1", "spark.sql.warehouse.dir": os.path.join(tempfile.gettempdir(), "warehouse"),
        "spark.log.level": "OFF",
        # Of so few rows compiling a plan would be most of the time.
        "spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    builder = SparkSession.builder.master("local[2]").appName("minispark")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def plain(value):
    """A value of Spark's as DuckDB gives it."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return bytes(value) if isinstance(value, bytearray) else value


def answer(spark, statement):
    """The names and the rows of a statement."""
    frame = spark.sql(statement)
    # pyspark would show timestamps with a zone in the machine's own.
    columns = [f"unix_micros(`{name}`) as `{name}`" if kind == "timestamp" else f"`{name}`" for name, kind in frame.dtypes]
    return frame.columns, [tuple(plain(value) for value in row) for row in frame.selectExpr(*columns).collect()]


def explained(binary, path):
    done = fuzz.minispark(["explain", path, "--format", "sql", "--dialect", "spark"], binary)
    return done.stdout if done.returncode == 0 else None, done.stderr.strip()


def refusal(told):
    """The reason of a refusal, without the node."""
    return re.sub(r"^\S*error\[\w+\]: ", "", told.splitlines()[0]) if told else "nothing"


def short(error):
    return str(error).split("JVM stacktrace")[0].strip()[:1500]


def benchmark(options, spark, connection):
    """Runs the benchmark jobs; how many are compared, and how many differ."""
    count = failures = 0
    for suite, (folder, parameters, tables) in queries.suites(options.size).items():
        data = options.tpch if suite.startswith("tpch") else options.h2o
        if not data or suite == "tpch-sql":
            continue
        for name in sorted(name for name in os.listdir(os.path.join(queries.JOBS, folder)) if name.endswith(".json")):
            document, stem = os.path.join(queries.JOBS, folder, name), name[: -len(".json")]
            if options.only not in document:
                continue
            for table, file in tables.items():
                if suite == "h2o" and table == "x" and stem.startswith("join"):
                    file = file.replace("G1_", "J1_") + "_x"
                connection.execute(f"create or replace view {table} as from read_parquet('{data}/{file}.parquet')")
            sql = open(os.path.join(queries.JOBS, folder, "sql", f"{stem}.sql")).read()
            sql = re.sub(r"(interval '\d+' \w+) \(\d+\)", r"\1", sql)
            scratch = tempfile.mkdtemp(prefix="spark-")
            try:
                target = os.path.join(scratch, "result")
                job = queries.prepare(document, {"data": os.path.abspath(data), **parameters}, target)
                path = os.path.join(scratch, "job.json")
                with open(path, "w") as file:
                    json.dump(job, file)
                # Before the run, whose result would be in its own way.
                statement, told = explained(options.binary, path)
                if statement is None:
                    if REFUSED.get(f"{suite} {stem}", told + "!") not in told:
                        raise RuntimeError(f"no SQL: {told}")
                    print(f"{suite} {stem}: refused: {refusal(told)}", flush=True)
                    continue
                queries.run(options, job, scratch)
                difference = queries.compare(connection, target, sql)
                if difference is None:
                    ours = connection.execute(f"from read_parquet('{target}/*.parquet')").fetchall()
                    theirs = answer(spark, statement)[1]
                    difference = queries.same_rows(ours, theirs)
                    difference = difference and difference.replace("DuckDB", "Spark")
            except Exception as error:  # pyspark's errors have no common class with the others
                difference = f"{type(error).__name__}: {short(error)}"
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            count += 1
            failures += difference is not None
            print(f"{suite} {stem}: {'equal' if difference is None else f'DIFFERENT: {difference}'}", flush=True)
    return count, failures


def one(seed, options, spark, connection, refused):
    """Why a random job differs; None where it doesn't, and whether it was compared with rows."""
    folder = os.path.join(options.keep or tempfile.gettempdir(), f"spark-{os.getpid()}-{seed}")
    os.makedirs(folder)
    try:
        maker = Maker(random.Random(seed), folder)
        job, last = maker.job()
        path, target = os.path.join(folder, "job.json"), os.path.join(folder, "out")
        with open(path, "w") as file:
            json.dump(job, file, indent=1)
        statement, told = explained(options.binary, path)
        if statement is None:
            refused[refusal(told)] += 1
            return None, False
        with open(path, "w") as file:
            json.dump(fuzz.with_sinks(job, last.name, None, target, text=False), file, indent=1)
        done = fuzz.minispark(["run", path, "--output-dir", os.path.join(folder, "o"), "--show", "0", "--threads", "2"], options.binary)
        if done.returncode not in (0, 7):
            return f"exit {done.returncode}: {done.stderr.strip()[-600:]}", False
        try:
            names, theirs = answer(spark, statement)
        except Exception as error:  # as above
            if done.returncode == 7 or THEIRS.search(str(error)):
                return None, False
            return f"Spark refuses: {short(error)}\n{statement}", False
        if done.returncode == 7:
            return (None if STRICTER.search(done.stderr) else f"failed: {done.stderr.strip()}\n{statement}"), False
        connection.execute("set TimeZone = 'UTC'")
        source = f"read_parquet('{target}/*.parquet', hive_partitioning = false)"
        kinds = connection.execute(f"describe from {source}").fetchall()
        if [kind[0] for kind in kinds] != names:
            return f"columns {[kind[0] for kind in kinds]}, and Spark has {names}\n{statement}", True
        columns = ", ".join(f'epoch_us("{kind[0]}")' if "ZONE" in kind[1] else f'"{kind[0]}"' for kind in kinds)
        ours = connection.execute(f"select {columns} from {source}").fetchall()
        found = fuzz.difference(ours, theirs, ordered=maker.sorted)
        return (f"{found.replace('DuckDB', 'Spark')}\n{statement}" if found else None), True
    except subprocess.TimeoutExpired as error:
        return f"no end: {error}", False
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=fuzz.BINARY)
    parser.add_argument("--tpch", help="the folder of TPC-H's tables as Parquet files")
    parser.add_argument("--h2o", help="the folder of the db-benchmark's tables as Parquet files")
    parser.add_argument("--size", default="1e5", help="the size in the names of the db-benchmark's tables")
    parser.add_argument("--only", default="", help="run the documents whose path has this in it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=40, help="how many random jobs")
    parser.add_argument("--keep", help="a folder that keeps each random job's files")
    options = parser.parse_args()
    options.cluster, options.threads, options.memory = None, 2, None
    spark, connection = session(), duckdb.connect()
    count, failures = benchmark(options, spark, connection)
    print(f"{count - failures} of {count} benchmark jobs equal Spark {spark.version} and DuckDB {duckdb.__version__}", flush=True)
    compared, differ, refused = 0, 0, collections.Counter()
    for seed in range(options.seed, options.seed + options.jobs):
        found, has_rows = one(seed, options, spark, connection, refused)
        compared += has_rows
        if found:
            differ += 1
            print(f"seed {seed}: {found}", flush=True)
    print(f"{options.jobs} jobs from seed {options.seed}: {compared} compared row by row with Spark {spark.version}, "
          f"{sum(refused.values())} not said in its dialect, {differ} differ")
    for reason, times in refused.most_common():
        print(f"  {times:3} {reason}")
    spark.stop()
    sys.exit(failures + differ > 0)


if __name__ == "__main__":
    main()
