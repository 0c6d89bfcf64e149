"""The workloads: what is asked, of which data, where the answer goes, and who is asked.

A workload is a question (`queries.py` has it for the peers, `documents.py` for minispark) with a place
for its answer: `memory`, `csv`, `parquet` (snappy) or `zstd` (Parquet with zstd, level 3).
"""

import fnmatch
from dataclasses import dataclass

SQL = ("duckdb", "datafusion")
PEERS = ("duckdb", "datafusion", "polars")
FLOOR = PEERS + ("floor",)
SPARK = ("spark",)


@dataclass(frozen=True)
class Workload:
    """One line of the table."""

    id: str
    title: str
    question: str
    answer: str
    # The data sets of `data.py` that it reads.
    data: str
    peers: tuple[str, ...]
    limit_mb: int | None = None
    # Whether the rows' order is part of the answer.
    is_sorted: bool = False
    # Whether minispark makes its result durable before it ends, which no peer does.
    is_synced: bool = False

    @property
    def family(self) -> str:
        """P2 of P2q7: the lines that are summed up together."""
        return self.id.split("q")[0]


def table() -> list[Workload]:
    """All workloads, in the order in which they are measured."""
    lines = [
        Workload("P1", "word count, 1.0 GB CSV, 9 M rows -> CSV", "wordcount", "csv", "books", FLOOR + SPARK),
        Workload("P1b", "word count, 3 M lines, 19 words -> CSV", "lines", "csv", "seed", FLOOR + SPARK),
        Workload("P3b", "join, CSV 5 M sales x 1,000 products -> CSV", "sales", "csv", "seed", FLOOR + SPARK),
    ]
    for number in range(1, 11):
        title = f"h2o group-by q{number}, 10 M rows"
        question = f"groupby_q{number:02}"
        lines.append(Workload(f"P2q{number}", title, question, "memory", "h2o", PEERS))
        lines.append(Workload(f"P2wq{number}", f"{title} -> Parquet", question, "parquet", "h2o", PEERS))
    for number in range(1, 6):
        title = f"h2o join q{number}, 10 M rows"
        question = f"join_q{number:02}"
        lines.append(Workload(f"P3q{number}", title, question, "memory", "h2o", PEERS))
        lines.append(Workload(f"P3wq{number}", f"{title} -> Parquet", question, "parquet", "h2o", PEERS))
    lines += [
        Workload("P4p", "ETL, 1.0 GB CSV: filter + upper -> Parquet zstd(3)", "etl", "zstd", "books", PEERS),
        Workload("P4c", "the same -> CSV", "etl", "csv", "books", FLOOR),
        Workload("P4cs", "P4c, minispark's result synced to the disk", "etl", "csv", "books", PEERS, is_synced=True),
        Workload("P5", "TPC-H SF1, 22 queries, graphs", "tpch1", "memory", "tpch1", SQL + SPARK),
        Workload("P5s", "TPC-H SF1, 22 queries, SQL", "tpchsql1", "memory", "tpch1", SQL),
        Workload("P5w", "TPC-H SF1, 22 queries, graphs -> Parquet", "tpch1", "parquet", "tpch1", SQL),
        Workload("P5sf10", "TPC-H SF10, 22 queries, graphs", "tpch10", "memory", "tpch10", SQL),
        Workload("P5ssf10", "TPC-H SF10, 22 queries, SQL", "tpchsql10", "memory", "tpch10", SQL),
        Workload("P6", "sort 10 M rows by two keys -> Parquet", "sort", "parquet", "h2o", PEERS, None, True),
        Workload("P7a", "group by six ids, 10 M groups -> Parquet", "groupby_q10", "parquet", "h2o", PEERS),
        Workload("P7a@256", "the same in 256 MB", "groupby_q10", "parquet", "h2o", SQL, 256),
        Workload("P7b", "join 10 M x 10 M -> Parquet", "join_q05", "parquet", "h2o", PEERS + SPARK),
        Workload("P7b@256", "the same in 256 MB", "join_q05", "parquet", "h2o", SQL, 256),
        Workload("P7c@256", "P6 in 256 MB", "sort", "parquet", "h2o", SQL, 256, True),
    ]
    return lines


# What only takes long beside what it tells, or needs data of many gigabytes: only where it is named.
BY_NAME = ("P5sf10", "P5ssf10", "P2w", "P3w")
# What has a harness of its own.
OTHERS = ("P8", "P9", "P10")


def chosen(patterns: list[str]) -> tuple[list[Workload], list[str]]:
    """The workloads that the patterns name by id, family (`P2`) or with wildcards, and the other harnesses."""
    lines = table()
    if not patterns:
        return [line for line in lines if line.family not in BY_NAME], list(OTHERS)
    known = {line.id for line in lines} | {line.family for line in lines} | set(OTHERS)
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise SystemExit(f"no workload is called `{pattern}`; there are {', '.join(sorted(known))}")

    def named(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    picked = [line for line in lines if named(line.id) or named(line.family)]
    return picked, [name for name in OTHERS if named(name)]
