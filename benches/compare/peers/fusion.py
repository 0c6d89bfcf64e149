"""DataFusion: answers as record batches, or in a file by COPY."""

import os

import datafusion
import pyarrow as pa
import queries
from datafusion import RuntimeEnvBuilder, SessionConfig, SessionContext

OPTIONS = {
    "csv": "STORED AS CSV OPTIONS ('format.has_header' 'false')",
    "parquet": "STORED AS PARQUET OPTIONS ('format.compression' 'snappy')",
    "zstd": "STORED AS PARQUET OPTIONS ('format.compression' 'zstd(3)')",
}
TYPES = {"BIGINT": pa.int64(), "VARCHAR": pa.string()}


class Peer:
    version = datafusion.__version__

    def __init__(self, data: str, work: str, threads: int, limit_mb: int | None):
        self.data = data
        spill = os.path.join(work, "spill")
        os.makedirs(spill, exist_ok=True)
        runtime = RuntimeEnvBuilder().with_disk_manager_specified(spill)
        if limit_mb:
            runtime = runtime.with_fair_spill_pool(limit_mb * 1_000_000)
        self.context = SessionContext(SessionConfig().with_target_partitions(threads), runtime)

    def open(self, question: str) -> None:
        for name, table in queries.tables(question).items():
            path = os.path.join(self.data, table.file)
            if table.is_csv:
                schema = pa.schema([pa.field(column, TYPES[kind]) for column, kind in table.columns])
                self.context.register_csv(name, path, schema=schema, has_header=False)
            else:
                self.context.register_parquet(name, path)

    def statement(self, question: str) -> str:
        return queries.sql(question, queries.DATAFUSION)

    def collect(self, statement: str):
        return self.context.sql(statement).collect()

    collect_small = collect

    def arrow(self, answer):
        return pa.Table.from_batches(answer)

    def write(self, statement: str, path: str, kind: str) -> None:
        self.context.sql(f"COPY ({statement}) TO '{path}' {OPTIONS[kind]}").collect()
