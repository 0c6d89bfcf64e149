"""The workloads' questions in SQL, and the tables that they are asked of.

What stands in braces differs by dialect; `Dialect` has it.
"""

import os
import re
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
JOBS = os.path.join(os.path.dirname(os.path.dirname(HERE)), "jobs")
TPCH_TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")


@dataclass(frozen=True)
class Dialect:
    """What engines write in their own way."""

    split: str  # a text cut at a separator
    explode: str  # a row for each element of a list
    bytes: str  # the bytes of a text


DUCKDB = Dialect("string_split", "unnest", "strlen")
DATAFUSION = Dialect("string_to_array", "unnest", "octet_length")
SPARK = Dialect("split", "explode", "octet_length")


@dataclass(frozen=True)
class Table:
    """A file and, of a CSV file, its columns: name -> SQL type (`BIGINT` or `VARCHAR`)."""

    file: str
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def is_csv(self) -> bool:
        """Whether it is text; Parquet otherwise."""
        return bool(self.columns)


def text(file: str, **columns: str) -> Table:
    """A CSV file without a header."""
    return Table(file, tuple(columns.items()))


BOOKS = text("books_1g.csv", id="BIGINT", title="VARCHAR", text="VARCHAR")
SMALL_BOOKS = text("books_100m.csv", id="BIGINT", title="VARCHAR", text="VARCHAR")
GROUPS = {"x": Table("G1_1e7.parquet")}
JOINED = {
    "x": Table("J1_1e7_x.parquet"),
    "small": Table("J1_1e7_small.parquet"),
    "medium": Table("J1_1e7_medium.parquet"),
    "big": Table("J1_1e7_big.parquet"),
}
SALES = {
    "sales": text("sales.csv", k="BIGINT", sale="VARCHAR"),
    "catalog": text("catalog.csv", k="BIGINT", name="VARCHAR"),
}


def tables(question: str) -> dict[str, Table]:
    """The tables that a question is asked of, by name."""
    if question.startswith("tpch"):
        folder = "tpch_sf" + re.sub(r"\D", "", question)
        return {name: Table(f"{folder}/{name}.parquet") for name in TPCH_TABLES}
    if question.startswith("join"):
        return JOINED
    if question.startswith("groupby") or question == "sort":
        return GROUPS
    return {
        "wordcount": {"books": BOOKS},
        "wordcount10": {"books": SMALL_BOOKS},
        "etl": {"books": BOOKS},
        "lines": {"lines": text("big_text.csv", line="VARCHAR")},
        "sales": SALES,
    }[question]


def word_count(dialect: Dialect, source: str, expression: str) -> str:
    """A count of the words of `expression`."""
    words = f"SELECT {dialect.explode}({dialect.split}(lower({expression}), ' ')) AS w FROM {source}"
    return f"SELECT w, count(*) AS n FROM ({words}) t WHERE w <> '' GROUP BY w"


def sql(question: str, dialect: Dialect) -> str:
    """A question that is one statement."""
    if question in ("wordcount", "wordcount10"):
        return word_count(dialect, "books", "title || ' ' || text")
    if question == "lines":
        return word_count(dialect, "lines", "line")
    if question == "sales":
        return "SELECT s.k, s.sale, c.name FROM sales s JOIN catalog c ON s.k = c.k"
    if question == "etl":
        return f"SELECT id, upper(title) AS title, text FROM books WHERE {dialect.bytes}(text) > 80"
    if question == "sort":
        return "SELECT * FROM x ORDER BY id6, v3"
    if question == "groupby_q08" and dialect == DUCKDB:
        # As DuckDB's own entry in the db-benchmark has it; faster there than the window of the others.
        return "SELECT id6, unnest(max(v3, 2)) AS largest2_v3 FROM x WHERE v3 IS NOT NULL GROUP BY id6"
    return statement(os.path.join("h2o", "sql", f"{question}.sql"))


def tpch() -> dict[str, str]:
    """The 22 queries, by name."""
    return {f"q{number:02}": statement(os.path.join("tpch", "sql", f"q{number:02}.sql")) for number in range(1, 23)}


def statement(path: str) -> str:
    """A statement of the jobs' folder."""
    with open(os.path.join(JOBS, path)) as file:
        written = file.read().strip().rstrip(";")
    # The benchmark gives intervals a precision, which some grammars do not know.
    return re.sub(r"(interval '\d+' \w+) \(\d+\)", r"\1", written)
