#!/usr/bin/env python3
"""Runs each operator under several budgets and numbers of threads: peak memory, spill, time, and whether
the result is the same. Ten million rows of the db-benchmark; see README.md."""

import argparse
import fnmatch
import json
import os
import shutil
import sys
from dataclasses import dataclass

import compare
import data
import digest
import systems
from systems import Run, Setting

# Peak resident memory may be the budget times 1.25 and 64 MiB.
FACTOR, SLACK_MIB = 1.25, 64
BUDGETS_MIB = (None, 256, 64)
IDS = ["id1", "id2", "id3", "id4", "id5", "id6"]


@dataclass(frozen=True)
class Operator:
    """One line of the table: nodes behind the readers, and the writer's fields."""

    name: str
    readers: dict[str, str]
    nodes: tuple[dict, ...]
    edges: tuple[tuple[str, str], ...]
    writer: dict | None = None
    # Whether the rows' order, and so the bytes, are part of the promise.
    is_ordered: bool = False


def chain(name: str, *nodes: dict, **more) -> Operator:
    """Nodes one behind the other over the group-by table."""
    named = tuple({"id": f"n{number}", **node} for number, node in enumerate(nodes))
    names = ["x", *(node["id"] for node in named)]
    return Operator(name, {"x": "G1_1e7"}, named, tuple(zip(names, names[1:])), **more)


def join(how: str, right: str = "J1_1e7_big", key: str = "id3") -> Operator:
    """The db-benchmark's join of two tables of ten million rows, of one kind."""
    left = {"id": "left", "op": "map", "select": {"k": key, "l3": "id3", "l6": "id6", "v1": "v1"}}
    other = {"id": "right", "op": "map", "select": {"k": key, "r5": "id5", "v2": "v2"}}
    joined = {"id": "joined", "op": "join", "key": "k", "how": how}
    edges = (("x", "left"), ("y", "right"), ("left", "joined"), ("right", "joined"))
    title = f"join {how}" if right.endswith("big") else f"join {how}, 10 thousand on the right (broadcast)"
    return Operator(title, {"x": "J1_1e7_x", "y": right}, (left, other, joined), edges)


def operators() -> list[Operator]:
    narrow = {"op": "map", "select": {"id3": "id3", "id6": "id6", "v3": "v3"}}
    all_ids = {"op": "map", "select": {name: name for name in IDS}}
    one, other = ({"id": side, **all_ids} for side in "ab")
    return [
        chain("group by, all distinct", {"op": "reduce_by_key", "key": IDS, "aggs": {"v3": "sum(v3)", "n": "count(*)"}}),
        chain("group by, 100 thousand groups, median", {"op": "reduce_by_key", "key": ["id3"], "aggs": {"m": "median(v3)"}}),
        chain("distinct", all_ids, {"op": "distinct"}),
        chain("distinct by key", narrow, {"op": "distinct", "key": ["id3"]}),
        *(join(how) for how in ("inner", "left", "right", "full", "semi", "anti")),
        join("inner", "J1_1e7_medium", "id2"),
        chain("sort", {"op": "sort", "by": ["id6", "v3"]}, is_ordered=True),
        chain(
            "window", narrow,
            {"op": "window", "partition_by": ["id6"], "order_by": ["v3 desc"], "with": {"place": "row_number()"}},
            is_ordered=True,
        ),
        Operator(
            "union and distinct", {"x": "G1_1e7"}, (one, other, {"id": "u", "op": "union"}, {"id": "d", "op": "distinct"}),
            (("x", "a"), ("x", "b"), ("a", "u"), ("b", "u"), ("u", "d")),
        ),
        chain("sink by folders (100)", narrow | {"select": {"id1": "id1", "id3": "id3", "v3": "v3"}},
              writer={"op": "write_parquet", "compression": "snappy", "partition_by": ["id1"]}),
        chain("exchange (repartition by key)", {"op": "repartition", "partitions": 64, "key": "id3"}),
        chain("stable order of a result", narrow, writer={"op": "write_parquet", "compression": "snappy", "order": "stable"},
              is_ordered=True),
    ]


def document(operator: Operator, setting: Setting) -> dict:
    readers = [
        {"id": name, "op": "read_parquet", "path": os.path.join(setting.data, f"{table}.parquet")}
        for name, table in operator.readers.items()
    ]
    writer = operator.writer or {"op": "write_parquet", "compression": "snappy"}
    nodes = [*readers, *operator.nodes, {"id": "out", **writer, "path": os.path.join(setting.work, "result")}]
    last = operator.nodes[-1]["id"]
    return {"name": "memory", "dag": {"nodes": nodes, "edges": [*map(list, operator.edges), [last, "out"]]}}


def run(operator: Operator, setting: Setting, budget_mib: int | None) -> tuple[Run, dict | None, list]:
    """One run; its rows' digest, and the checksums of its files where their bytes are promised."""
    systems.emptied(setting.work)
    done = Run("minispark", operator.name, setting.threads, 1)
    job = os.path.join(setting.work, "job.json")
    with open(job, "w") as file:
        json.dump(document(operator, setting), file)
    budget = budget_mib << 20 if budget_mib else systems.memory_bytes()
    command = [setting.minispark, "run", job, "--threads", str(setting.threads), "--memory", f"{budget}B", "--json"]
    command += ["--quiet", "--output-dir", os.path.join(setting.work, "output"), *systems.unsynced(setting.minispark)]
    try:
        output, usage = systems.started(command, done, setting)
        systems.of_minispark(json.loads(output), done)
        done.cpu = usage.ru_utime + usage.ru_stime
        with open(os.path.join(setting.work, "result", "_manifest.json")) as file:
            checksums = [entry["checksum"] for entry in json.load(file)["files"]]
        return done, digest.of_files(os.path.join(setting.work, "result")), checksums
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        done.error = f"{type(error).__name__}: {' '.join(str(error).split())[-200:]}"
        return done, None, []


def verdict(operator: Operator, first, rows, checksums) -> str:
    """Whether a result is that of the first run."""
    if rows is None or first is None:
        return ""
    if not digest.equal(first[0], rows):
        return "ROWS DIFFER"
    if not operator.is_ordered:
        return "rows"
    return "bytes" if first[1] == checksums else "BYTES DIFFER"


def table(chosen: list[Operator], setting: Setting, threads: list[int], budgets) -> list[str]:
    lines = [
        "| operator | budget MiB | threads | s | times the first | CPU s | peak MiB | allowed MiB | spilled MiB | as the first |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for operator in chosen:
        first, base = None, None
        for count in threads:
            for budget in budgets:
                own = Setting(**{**vars(setting), "threads": count})
                done, rows, checksums = run(operator, own, budget)
                print(f"{operator.name}, {budget}, {count}: {done.error or done.query}", file=sys.stderr, flush=True)
                shown = str(budget or "default")
                if done.error:
                    lines.append(f"| {operator.name} | {shown} | {count} | fails: {done.error.replace('|', '/')} | | | | | | |")
                    continue
                if first is None:
                    first, base = (rows, checksums), done.query
                allowed = budget * FACTOR + SLACK_MIB if budget else None
                mark = " OVER" if allowed and done.peak_mib > allowed else ""
                cells = [
                    operator.name, shown, str(count), f"{done.query:.2f}", f"{done.query / base:.2f}", f"{done.cpu:.2f}",
                    f"{done.peak_mib:.0f}{mark}", f"{allowed:.0f}" if allowed else "", f"{done.spilled_mib:.0f}",
                    verdict(operator, first, rows, checksums),
                ]
                lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="operators by name, with wildcards")
    parser.add_argument("--threads", default="2,1", help="numbers of threads")
    parser.add_argument("--budgets", default="", help="budgets in MiB beside the default one")
    parser.add_argument("--out", help="write the table here as well")
    options = parser.parse_args()
    setting = compare.setting_of(argparse.Namespace(threads=2))
    data.ensure(setting.data, ["h2o"])
    budgets = BUDGETS_MIB
    if options.budgets:
        budgets = (None, *map(int, options.budgets.split(",")))
    chosen = [operator for operator in operators() if fnmatch.fnmatch(operator.name, options.only)]
    lines = [
        "## Memory of the operators",
        "",
        f"Ten million rows, written as Parquet; allowed is the budget x {FACTOR} + {SLACK_MIB} MiB. The last column says",
        "what was compared with the first run of the operator: its rows, and its files' bytes where the order is defined.",
        "",
        *table(chosen, setting, [int(count) for count in options.threads.split(",")], budgets),
    ]
    shutil.rmtree(setting.work, ignore_errors=True)
    print("\n".join(lines))
    if options.out:
        compare.save(options.out, lines)


if __name__ == "__main__":
    main()
