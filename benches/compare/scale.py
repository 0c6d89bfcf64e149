"""P10: how the time falls with threads and workers, and how it grows with the data and with less memory."""

import cluster
import report
import systems
from systems import Run, Setting
from workloads import Workload

THREADS = [
    Workload("P10 P1", "word count, 1.0 GB CSV -> CSV", "wordcount", "csv", "books", ()),
    Workload("P10 P2q5", "h2o group-by q5", "groupby_q05", "memory", "h2o", ()),
    Workload("P10 P2q10", "h2o group-by q10", "groupby_q10", "memory", "h2o", ()),
    Workload("P10 P3q5", "h2o join q5", "join_q05", "memory", "h2o", ()),
    Workload("P10 P4c", "ETL -> CSV", "etl", "csv", "books", ()),
    Workload("P10 P4p", "ETL -> Parquet", "etl", "zstd", "books", ()),
    Workload("P10 P5", "TPC-H SF1, 22 queries", "tpch1", "memory", "tpch1", ()),
    Workload("P10 P6", "sort 10 M rows -> Parquet", "sort", "parquet", "h2o", ()),
]
SMALL = Workload("P10 data/10", "word count, 100 MB CSV -> CSV", "wordcount10", "csv", "books", ())
WORKERS = (1, 2, 4)
# The results of the questions are 0.5 to 2 GB: ten times the smallest and more.
BUDGETS_MB = (None, 512, 128, 64)
LIMITED = [
    ("group by six ids", "groupby_q10"),
    ("join 10 M x 10 M", "join_q05"),
    ("sort 10 M rows", "sort"),
]


def medians(workload: Workload, settings: list[Setting], runs: int, write) -> list[list[Run]]:
    """Runs of each setting in turn, behind one that warms up."""
    done: list[list[Run]] = [[] for _ in settings]
    for number in range(runs + 1):
        for setting, group in zip(settings, done):
            run = systems.measure("minispark", workload, setting, max(number, 1))
            write(run)
            if number > 0 and not run.error:
                group.append(run)
    return done


def measured(setting: Setting, runs: int, write) -> list[str]:
    return [
        *by_threads(setting, runs, write),
        *by_workers(setting, runs, write),
        *by_data(setting, runs, write),
        *by_memory(setting, runs, write),
    ]


def by_threads(setting: Setting, runs: int, write) -> list[str]:
    counts = [1, setting.threads]
    lines = [
        f"## P10: 1 and {counts[1]} threads",
        "",
        f"| workload | 1 thread s | {counts[1]} threads s | speed-up | CPU s with 1 | CPU s with {counts[1]} |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    settings = [Setting(**{**vars(setting), "threads": count}) for count in counts]
    for workload in THREADS:
        groups = medians(workload, settings, runs, write)
        if not all(groups):
            lines.append(f"| {workload.title} | fails | | | | |")
            continue
        one, all_threads = (report.median(group, "query") for group in groups)
        cpu = [report.median(group, "cpu") for group in groups]
        lines.append(
            f"| {workload.title} | {one:.3f} | {all_threads:.3f} | {one / all_threads:.2f} | {cpu[0]:.2f} | {cpu[1]:.2f} |"
        )
    return [*lines, ""]


def by_workers(setting: Setting, runs: int, write) -> list[str]:
    lines = [
        "## P10: workers of one thread",
        "",
        "| workload | " + " | ".join(f"{count} workers s" for count in WORKERS) + " |",
        "|---|" + "--:|" * len(WORKERS),
    ]
    for workload in cluster.JOBS:
        groups: dict[int, list[Run]] = {count: [] for count in WORKERS}
        for number in range(1, runs + 1):
            for count, group in groups.items():
                run = cluster.measure(workload, setting, count, number)
                write(run)
                if not run.error:
                    group.append(run)
        cells = [report.seconds(report.median(group, "query")) or "fails" for group in groups.values()]
        lines.append(f"| {workload.title} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def by_data(setting: Setting, runs: int, write) -> list[str]:
    small, large = (medians(workload, [setting], runs, write)[0] for workload in (SMALL, THREADS[0]))
    if not small or not large:
        return []
    ten, hundred = report.median(small, "query"), report.median(large, "query")
    return [
        "## P10: ten times the data",
        "",
        f"Word count: {ten:.3f} s for 100 MB, {hundred:.3f} s for 1.0 GB: {hundred / ten:.1f} times as long.",
        "",
    ]


def by_memory(setting: Setting, runs: int, write) -> list[str]:
    names = ["by default" if budget is None else f"{budget} MB" for budget in BUDGETS_MB]
    lines = [
        "## P10: less memory",
        "",
        "Seconds, and times the first; in brackets peak MiB.",
        "",
        "| workload -> Parquet | " + " | ".join(names) + " |",
        "|---|" + "--:|" * len(names),
    ]
    for title, question in LIMITED:
        cells, first = [], None
        for budget in BUDGETS_MB:
            workload = Workload(f"P10 {question}@{budget}", title, question, "parquet", "h2o", (), budget)
            group = medians(workload, [setting], max(1, runs // 2), write)[0]
            if not group:
                cells.append("fails")
                continue
            seconds = report.median(group, "query")
            first = first or seconds
            cells.append(f"{seconds:.2f}, {seconds / first:.1f} x ({report.median(group, 'peak_mib'):.0f})")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return [*lines, ""]
