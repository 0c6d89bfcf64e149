#!/usr/bin/env python3
"""One measurement of one peer, in a process of its own: peer.py SYSTEM QUESTION ANSWER WORK [options].

The clock runs from the question to its complete answer: in the engine's memory, or on disk. Imports, the
session's start and the comparison lie outside of it. Prints one JSON object on its last line.
"""

import argparse
import importlib
import json
import os
import resource
import sys
import time

import digest
import queries

MODULES = {"duckdb": "duck", "datafusion": "fusion", "polars": "polar", "spark": "spark"}


def peak_mib(pid: int | str = "self") -> float:
    """The peak resident memory of a process, 0 where it has gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measured(peer, options) -> dict:
    """Asks the question; what it took."""
    is_suite = options.question.startswith("tpch")
    statements = queries.tpch() if is_suite else {options.question: peer.statement(options.question)}
    answers, report = {}, []
    cpu = cpu_seconds()
    for name, statement in statements.items():
        path = os.path.join(options.work, "result" if not is_suite else f"{name}")
        path += ".csv" if options.answer == "csv" else ".parquet"
        line = {"name": name}
        started = time.perf_counter()
        try:
            if options.answer == "memory":
                collect = peer.collect_small if is_suite else peer.collect
                answers[name] = collect(statement)
            else:
                peer.write(statement, path, options.answer)
                answers[name] = path
            line["seconds"] = time.perf_counter() - started
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {str(error)[:300]}"
        report.append(line)
    result = {"queries": report, "cpu": cpu_seconds() - cpu, "peak_mib": peak_mib()}
    if hasattr(peer, "process_ids"):
        result["peak_mib"] += sum(map(peak_mib, peer.process_ids()))
        # The processor time of other processes is not counted; better none than too little.
        del result["cpu"]
    if options.check:
        for line in report:
            if "error" not in line:
                answer = answers.pop(line["name"])
                is_file = options.answer != "memory"
                line["digest"] = digest.of_files(answer) if is_file else digest.of_table(peer.arrow(answer))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=MODULES)
    parser.add_argument("question")
    parser.add_argument("answer")
    parser.add_argument("work")
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--limit-mb", type=int)
    parser.add_argument("--check", action="store_true", help="tell what the answer is as well")
    options = parser.parse_args()
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    result = {}
    try:
        module = importlib.import_module(f"peers.{MODULES[options.system]}")
        peer = module.Peer(options.data, options.work, options.threads, options.limit_mb)
        result["version"] = peer.version
        peer.open(options.question.replace("tpchsql", "tpch"))
        result.update(measured(peer, options))
    except BaseException as error:
        result["error"] = f"{type(error).__name__}: {str(error)[:400]}"
    print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
