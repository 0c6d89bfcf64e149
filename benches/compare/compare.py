#!/usr/bin/env python3
"""Measures minispark beside its peers and prints a table; see README.md."""

import argparse
import os
import shutil
import signal
import sys
from importlib import metadata

import cluster
import data
import report
import scale
import small_jobs
import systems
import workloads
from systems import Run, Setting
from workloads import Workload

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SPREAD = 0.2
# What `--quick` leaves out beside Spark: the same questions with another place for the answer, or in less memory.
NOT_QUICK = ("P4cs", "P5s", "P5w", "P7a", "P7b", "P7a@256", "P7b@256", "P7c@256")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="workloads by id, family or with wildcards: P1,P3b,P2q*")
    parser.add_argument("--systems", default="", help="these alone: minispark,duckdb,polars,datafusion,spark,floor")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each system, behind one that warms up")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, default=2, help="workers of one thread each, for P8")
    parser.add_argument("--quick", action="store_true", help="three runs, without Spark: under ten minutes")
    parser.add_argument("--spark", action="store_true", help="Spark as well, one run of each of its workloads")
    parser.add_argument("--out", help="write the report here as well, and each run as a line of JSON beside it")
    return parser.parse_args()


def setting_of(options: argparse.Namespace) -> Setting:
    folder = os.environ.get("COMPARE_DATA", os.path.join(HERE, "data"))
    built = os.path.join(ROOT, "target", "release")
    return Setting(
        data=os.path.abspath(folder),
        work=os.path.abspath(os.environ.get("COMPARE_WORK", os.path.join(folder, "work"))),
        threads=options.threads,
        minispark=os.environ.get("MINISPARK", os.path.join(built, "minispark")),
        query=os.environ.get("MINISPARK_QUERY", os.path.join(built, "examples", "query")),
        floor=os.environ.get("MINISPARK_FLOOR", os.path.join(HERE, "floor", "target", "release", "floor")),
    )


def asked(workload: Workload, options: argparse.Namespace, setting: Setting) -> list[str]:
    """The systems of a workload that are here and wanted."""
    wanted = options.systems.split(",") if options.systems else ["minispark", *workload.peers]
    present = {"spark": options.spark or "spark" in options.systems, "floor": os.path.exists(setting.floor)}
    systems_asked = [name for name in ("minispark", *workload.peers) if name in wanted and present.get(name, True)]
    is_in_memory = workload.answer == "memory" or workload.question.startswith("tpch")
    if is_in_memory and not os.path.exists(setting.query):
        print(f"{workload.id}: {setting.query} is not built, so minispark is left out", file=sys.stderr)
        systems_asked.remove("minispark")
    return systems_asked


def measured(workload: Workload, names: list[str], setting: Setting, runs: int, most: int, write) -> list[Run]:
    """Runs of all systems in turn; more of them, up to `most`, where they spread too far."""
    done: list[Run] = []
    failed = set()
    for number in range(most + 1):
        if number > runs and report.spread(workload, done) <= SPREAD:
            break
        # Each round begins with another one, so that none always follows the same.
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            is_over = name == "spark" and number > 0
            if name in failed or is_over:
                continue
            run = systems.measure(name, workload, setting, number)
            write(run)
            done.append(run)
            if run.error:
                failed.add(name)
    return done


def main() -> None:
    # What ends this process ends what it started: an exception reaches whoever waits.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parsed()
    setting = setting_of(options)
    picked, others = workloads.chosen([name for name in options.only.split(",") if name])
    runs = 3 if options.quick else options.runs
    if options.quick and not options.only:
        picked = [line for line in picked if line.id not in NOT_QUICK]
        others = [name for name in others if name == "P9"]
    needed = {line.data for line in picked} | ({"tiny"} if "P9" in others else set())
    needed |= {"books", "h2o", "tpch1"} if {"P8", "P10"} & set(others) else set()
    data.ensure(setting.data, [name for name in data.SETS if name in needed])
    lines = open(options.out + ".jsonl", "w") if options.out else None

    def write(run: Run) -> None:
        seconds = run.error or f"{run.query:.3f} s, {run.peak_mib or 0:.0f} MiB"
        print(f"{run.workload} {run.system} run {run.number}: {seconds}", file=sys.stderr, flush=True)
        if lines:
            lines.write(run.line() + "\n")
            lines.flush()

    sections = [report.heading(setting, sys.argv[1:], versions())]
    results: dict[str, list[Run]] = {}
    for line in picked:
        names = asked(line, options, setting)
        if names:
            most = runs if options.quick else 2 * runs
            results[line.id] = measured(line, names, setting, runs, most, write)
        if options.out:
            save(options.out, sections + report.tables(picked, results))
    sections += report.tables(picked, results)
    if "P8" in others:
        sections += cluster.compared(setting, options.workers, runs, options.spark, write)
    if "P9" in others:
        sections += small_jobs.measured(setting, 50 if not options.quick else 20, write)
    if "P10" in others:
        sections += scale.measured(setting, runs, write)
    shutil.rmtree(setting.work, ignore_errors=True)
    print("\n".join(sections))
    if options.out:
        save(options.out, sections)


def save(path: str, sections: list[str]) -> None:
    with open(path, "w") as file:
        file.write("\n".join(sections) + "\n")


def versions() -> dict[str, str]:
    """The peers that are installed, with their versions."""
    found = {}
    for name in ("duckdb", "duckdb-cli", "datafusion", "polars", "pyspark", "pyarrow", "tpchgen-cli"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
