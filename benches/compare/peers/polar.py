"""Polars, its streaming engine: answers as a data frame, or in a file by a sink."""

import os

import polars as pl
import queries
from polars import col

ENGINE = "streaming"
TYPES = {"BIGINT": pl.Int64, "VARCHAR": pl.String}
IDS = ["id1", "id2", "id3", "id4", "id5", "id6"]


class Peer:
    version = pl.__version__

    def __init__(self, data: str, work: str, threads: int, limit_mb: int | None):
        # The threads go by POLARS_MAX_THREADS, which the driver sets.
        if limit_mb:
            raise NotImplementedError("Polars has no limit of memory")
        self.data = data

    def open(self, question: str) -> None:
        self.tables = {}
        for name, table in queries.tables(question).items():
            path = os.path.join(self.data, table.file)
            if table.is_csv:
                schema = {column: TYPES[kind] for column, kind in table.columns}
                self.tables[name] = pl.scan_csv(path, has_header=False, schema=schema)
            else:
                self.tables[name] = pl.scan_parquet(path)

    def statement(self, question: str) -> pl.LazyFrame:
        family, _, number = question.partition("_q")
        if family == "groupby":
            return grouped(self.tables["x"], int(number))
        if family == "join":
            return joined(self.tables, int(number))
        return plain(self.tables, question)

    def collect(self, statement: pl.LazyFrame) -> pl.DataFrame:
        return statement.collect(engine=ENGINE)

    def arrow(self, answer: pl.DataFrame):
        return answer.to_arrow()

    def write(self, statement: pl.LazyFrame, path: str, kind: str) -> None:
        if kind == "csv":
            statement.sink_csv(path, include_header=False, engine=ENGINE)
        elif kind == "zstd":
            statement.sink_parquet(path, compression="zstd", compression_level=3, engine=ENGINE)
        else:
            statement.sink_parquet(path, compression="snappy", engine=ENGINE)


def plain(tables: dict[str, pl.LazyFrame], question: str) -> pl.LazyFrame:
    if question in ("wordcount", "wordcount10"):
        return word_count(tables["books"], col("title") + " " + col("text"))
    if question == "lines":
        return word_count(tables["lines"], col("line"))
    if question == "sales":
        return tables["sales"].join(tables["catalog"], on="k").select("k", "sale", "name")
    if question == "etl":
        return tables["books"].filter(col("text").str.len_bytes() > 80).with_columns(col("title").str.to_uppercase())
    if question == "sort":
        return tables["x"].sort("id6", "v3")
    raise NotImplementedError(question)


def word_count(source: pl.LazyFrame, text: pl.Expr) -> pl.LazyFrame:
    words = source.select(w=text.str.to_lowercase().str.split(" ")).explode("w")
    return words.filter(col("w") != "").group_by("w").len()


def wide_sum(name: str) -> pl.Expr:
    """A sum of small integers in 64 bits, as the others have it."""
    return col(name).cast(pl.Int64).sum()


def grouped(x: pl.LazyFrame, number: int) -> pl.LazyFrame:
    """A question of the db-benchmark's group-by."""
    keys, values = {
        1: (["id1"], [wide_sum("v1")]),
        2: (["id1", "id2"], [wide_sum("v1")]),
        3: (["id3"], [wide_sum("v1"), col("v3").mean()]),
        4: (["id4"], [col("v1", "v2", "v3").mean()]),
        5: (["id6"], [wide_sum("v1"), wide_sum("v2"), col("v3").sum()]),
        6: (["id4", "id5"], [col("v3").median().alias("median_v3"), col("v3").std().alias("sd_v3")]),
        7: (["id3"], [(col("v1").max() - col("v2").min()).alias("range_v1_v2")]),
        8: (["id6"], [col("v3").top_k(2).alias("largest2_v3")]),
        9: (["id2", "id4"], [(pl.corr("v1", "v2") ** 2).alias("r2")]),
        10: (IDS, [col("v3").sum(), pl.len().alias("n")]),
    }[number]
    if number == 8:
        return x.drop_nulls("v3").group_by(keys).agg(values).explode("largest2_v3")
    return x.group_by(keys).agg(values)


def joined(tables: dict[str, pl.LazyFrame], number: int) -> pl.LazyFrame:
    """A question of the db-benchmark's join."""
    name, letter, key, kept, how = {
        1: ("small", "s", "id1", ["id4"], "inner"),
        2: ("medium", "m", "id2", ["id1", "id4", "id5"], "inner"),
        3: ("medium", "m", "id2", ["id1", "id4", "id5"], "left"),
        4: ("medium", "m", "id5", ["id1", "id2", "id4"], "inner"),
        5: ("big", "b", "id3", ["id1", "id2", "id4", "id5", "id6"], "inner"),
    }[number]
    renamed = [col(column).alias(letter + column) for column in kept]
    right = tables[name].select(key, *renamed, "v2")
    columns = [*IDS, "v1", *(letter + column for column in kept), "v2"]
    return tables["x"].join(right, on=key, how=how).select(columns)
