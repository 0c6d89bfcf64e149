#!/usr/bin/env python3
"""Runs each workload for minispark and its peers in turn and prints a table; see README.md."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DATA = os.environ.get("COMPARE_DATA", os.path.join(HERE, "data"))
BINARY = os.path.join(ROOT, "target", "release", "minispark")


def peak_mib():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024


# What a peer does, in a process of its own: `compare.py --peer NAME INPUT OUTPUT THREADS`.


def duckdb_wordcount(source, target, threads):
    import duckdb

    con = duckdb.connect()
    con.execute(f"SET threads={threads}")
    con.execute("SET preserve_insertion_order=false")
    lines = (
        f"read_csv('{source}', header=false, delim='\\x01', quote='', escape='', "
        "auto_detect=false, columns={'line': 'VARCHAR'})"
    )
    tokens = f"SELECT unnest(string_split(lower(line), ' ')) AS token FROM {lines}"
    started = time.perf_counter()
    con.execute(
        f"COPY (SELECT token, count(*) AS value FROM ({tokens}) WHERE token <> '' GROUP BY token) "
        f"TO '{target}' (FORMAT csv, HEADER true)"
    )
    return time.perf_counter() - started


def polars_wordcount(source, target, threads):
    import polars as pl

    started = time.perf_counter()
    lines = pl.scan_csv(
        source, has_header=False, separator="\x01", quote_char=None, new_columns=["line"],
        schema_overrides=[pl.String],
    )
    tokens = lines.select(token=pl.col("line").str.to_lowercase().str.split(" ")).explode("token")
    counts = tokens.filter(pl.col("token") != "").group_by("token").agg(value=pl.len())
    counts.sink_csv(target)
    return time.perf_counter() - started


PEERS = {"duckdb": duckdb_wordcount, "polars": polars_wordcount}


def run_peer(name, source, target, threads):
    seconds = PEERS[name](source, target, int(threads))
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib()}))


def minispark_job(source, target):
    return {
        "name": "wordcount",
        "dag": {
            "nodes": [
                {"id": "read", "op": "read_text", "path": source},
                {"id": "tokens", "op": "flat_map", "fn": "tokenize"},
                {"id": "lower", "op": "map", "fn": "to_lower"},
                {"id": "counts", "op": "reduce_by_key", "key": "token", "fn": "count"},
                {"id": "out", "op": "write_csv", "path": target},
            ],
            "edges": [["read", "tokens"], ["tokens", "lower"], ["lower", "counts"], ["counts", "out"]],
        },
    }


def measure(system, source, out, threads):
    """One run: query seconds, process seconds, CPU seconds, peak MiB, where the result is."""
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    os.sync()
    target = os.path.join(out, "result.csv" if system != "minispark" else "result")
    if system == "minispark":
        job = os.path.join(out, "job.json")
        with open(job, "w") as file:
            json.dump(minispark_job(source, target), file)
        command = [BINARY, "run", job, "--threads", str(threads), "--output-dir", out, "--json"]
    else:
        command = [sys.executable, os.path.abspath(__file__), "--peer", system, source, target, str(threads)]
    environment = dict(os.environ, POLARS_MAX_THREADS=str(threads))
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status != 0:
        sys.exit(f"{system} failed: {' '.join(command)}")
    report = json.loads(answer)
    return {
        "query": report["seconds"] if "seconds" in report else report["duration_secs"],
        "process": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss / 1024,
        "target": target,
    }


def counts(target):
    """The rows of a result, sorted, without its header."""
    files = [target]
    if os.path.isdir(target):
        files = sorted(os.path.join(target, name) for name in os.listdir(target) if name.startswith("part-"))
    rows = []
    for name in files:
        with open(name) as file:
            rows += file.read().splitlines()[1:]
    return sorted(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--systems", default="minispark,duckdb,polars")
    parser.add_argument("--out", help="write the report here as well")
    options = parser.parse_args()
    os.makedirs(DATA, exist_ok=True)
    source = os.path.join(DATA, f"text-{options.bytes}.txt")
    if not os.path.exists(source):
        subprocess.run([BINARY, "generate", "text", "--size", f"{options.bytes}B", source], check=True)
    systems = options.systems.split(",")
    runs = {system: [] for system in systems}
    results = {}
    out = os.path.join(DATA, "out")
    for round_number in range(options.runs + 1):
        for system in systems:
            run = measure(system, source, out, options.threads)
            if round_number == 0:
                results[system] = counts(run["target"])
            else:
                runs[system].append(run)
            print(f"round {round_number}: {system} {run['query']:.2f} s", file=sys.stderr)
    medians = {
        system: {key: statistics.median(run[key] for run in runs[system]) for key in ("query", "process", "cpu", "peak")}
        for system in systems
    }
    peers = [system for system in systems if system != "minispark"]
    best = min((medians[system]["query"] for system in peers), default=None)
    lines = [
        f"wordcount, {options.bytes:,} bytes of text, {options.threads} threads, median of {options.runs}; "
        f"{platform.machine()}, {os.cpu_count()} cores",
        "",
        "| system | query s | process s | CPU s | peak MiB | ratio to the best peer | equal |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for system in systems:
        m = medians[system]
        equal = results[system] == results[systems[0]]
        ratio = f"{m['query'] / best:.2f}" if equal and best else "-"
        lines.append(
            f"| {system} | {m['query']:.2f} | {m['process']:.2f} | {m['cpu']:.2f} | {m['peak']:.0f} | {ratio} | "
            f"{'yes' if equal else 'NO'} |"
        )
    report = "\n".join(lines)
    print(report)
    if options.out:
        with open(options.out, "w") as file:
            file.write(report + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--peer":
        run_peer(*sys.argv[2:])
    else:
        main()
