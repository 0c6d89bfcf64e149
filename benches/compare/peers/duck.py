"""DuckDB: answers in a temporary table of its own, or in a file by COPY."""

import os

import duckdb
import queries

OPTIONS = {
    "csv": "FORMAT csv, HEADER false",
    "parquet": "FORMAT parquet, COMPRESSION snappy",
    "zstd": "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3",
}


class Peer:
    version = duckdb.__version__

    def __init__(self, data: str, work: str, threads: int, limit_mb: int | None):
        self.data = data
        self.connection = duckdb.connect()
        self.connection.execute(f"SET threads={threads}")
        self.connection.execute("SET preserve_insertion_order=false")
        self.connection.execute(f"SET temp_directory='{os.path.join(work, 'spill')}'")
        if limit_mb:
            self.connection.execute(f"SET memory_limit='{limit_mb}MB'")

    def open(self, question: str) -> None:
        if question == "sort":
            # The order of the file is the point of it.
            self.connection.execute("SET preserve_insertion_order=true")
        for name, table in queries.tables(question).items():
            path = os.path.join(self.data, table.file)
            source = f"read_parquet('{path}')"
            if table.is_csv:
                columns = ", ".join(f"'{column}': '{kind}'" for column, kind in table.columns)
                source = f"read_csv('{path}', header=false, delim=',', auto_detect=false, columns={{{columns}}})"
            self.connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {source}")

    def statement(self, question: str) -> str:
        return self.narrowed(queries.sql(question, queries.DUCKDB))

    def narrowed(self, statement: str) -> str:
        """The statement with its sums of integers in 64 bits: Parquet would get 128 bits as floats."""
        described = self.connection.execute(f"DESCRIBE {statement}").fetchall()
        casts = [f'"{name}"::BIGINT AS "{name}"' for name, kind, *_ in described if kind == "HUGEINT"]
        return f"SELECT * REPLACE ({', '.join(casts)}) FROM ({statement})" if casts else statement

    def collect(self, statement: str):
        """The answer in the engine's own memory."""
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE answer AS {statement}")
        return "answer"

    def collect_small(self, statement: str):
        """The answer as an Arrow table: TPC-H's are small."""
        return self.connection.sql(statement).to_arrow_table()

    def arrow(self, answer):
        if isinstance(answer, str):
            return self.connection.sql(f"SELECT * FROM {answer}").to_arrow_table()
        return answer

    def write(self, statement: str, path: str, kind: str) -> None:
        self.connection.execute(f"COPY ({statement}) TO '{path}' ({OPTIONS[kind]})")
