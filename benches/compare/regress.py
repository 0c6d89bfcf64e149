#!/usr/bin/env python3
"""Measures two programs on the same workloads, run by run in turn: regress.py OLD NEW [options].

Results go to files, those of the workloads that stay in memory as Parquet; suites of queries are left out.
"""

import argparse
import dataclasses
import os
import shutil
import statistics
import sys

import compare
import data
import digest
import report
import systems
import workloads
from systems import Run
from workloads import Workload

# As much faster or slower as two builds of the same text have been seen to differ.
NOISE = 0.05


def written(workload: Workload) -> Workload:
    """The workload with its answer in files."""
    answer = "parquet" if workload.answer == "memory" else workload.answer
    return dataclasses.replace(workload, answer=answer)


def turns(workload: Workload, programs: dict[str, str], setting, runs: int) -> dict[str, list[Run]]:
    """Runs of both programs, beginning with each in turn; the first of each warms up and is compared."""
    done: dict[str, list[Run]] = {name: [] for name in programs}
    for number in range(runs + 1):
        order = list(programs) if number % 2 else list(programs)[::-1]
        for name in order:
            own = dataclasses.replace(setting, minispark=programs[name])
            done[name].append(systems.measure("minispark", workload, own, number))
    return done


def judged(old: list[float], new: list[float]) -> str:
    """What CPU seconds tell: nothing where the runs of the two overlap, or hardly differ."""
    if abs(statistics.median(new) / statistics.median(old) - 1) <= NOISE:
        return ""
    if max(new) < min(old):
        return "faster"
    return "SLOWER" if min(new) > max(old) else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--only", default="P1,P1b,P3b,P2,P3,P4p,P4c,P6", help="workloads by id, family or wildcard")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    setting = compare.setting_of(options)
    picked = [line for line in workloads.chosen(options.only.split(","))[0] if not line.question.startswith("tpch")]
    data.ensure(setting.data, list(dict.fromkeys(line.data for line in picked)))
    lines = [
        "| id | workload | old s | new s | new / old | old CPU s | new CPU s | CPU new / old | old MiB | new MiB | |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    ratios = []
    for line in map(written, picked):
        done = turns(line, {"old": options.old, "new": options.new}, setting, options.runs)
        errors = [f"{name}: {run.error}" for name, runs in done.items() for run in runs if run.error]
        if errors:
            lines.append(f"| {line.id} | {line.title} | fails: {errors[0].replace('|', '/')[:160]} | | | | | | | | |")
            continue
        first = [next(iter(runs[0].digests.values()), None) for runs in done.values()]
        old, new = (runs[1:] for runs in done.values())
        figures = [[report.median(runs, what) for runs in (old, new)] for what in ("query", "cpu", "peak_mib")]
        (before, after), (cpu_before, cpu_after), peaks = figures
        ratios.append(cpu_after / cpu_before)
        verdict = judged([run.cpu for run in old], [run.cpu for run in new])
        if not digest.equal(*first):
            verdict = "RESULTS DIFFER"
        lines.append(
            f"| {line.id} | {line.title} | {before:.3f} | {after:.3f} | {after / before:.2f} | {cpu_before:.2f} | "
            f"{cpu_after:.2f} | {ratios[-1]:.2f} | {peaks[0]:.0f} | {peaks[1]:.0f} | {verdict} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    shutil.rmtree(setting.work, ignore_errors=True)
    print("\n".join(lines))
    if ratios:
        print(f"\nCPU seconds, geometric mean of new / old: {statistics.geometric_mean(ratios):.3f}")


if __name__ == "__main__":
    main()
