"""Spark with two executors as processes of their own (`local-cluster`), as two workers would be.

What is timed is the first run in a fresh virtual machine, as a job that is submitted meets it.
"""

import os
import sys

import pyspark
import queries
from pyspark.sql import SparkSession

TYPES = {"BIGINT": "BIGINT", "VARCHAR": "STRING"}


class Peer:
    version = pyspark.__version__

    def __init__(self, data: str, work: str, threads: int, limit_mb: int | None):
        if limit_mb:
            raise NotImplementedError("a Java virtual machine does not start in that")
        self.data = data
        os.environ["SPARK_HOME"] = os.path.dirname(pyspark.__file__)
        os.environ["PYSPARK_PYTHON"] = sys.executable
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        settings = {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "8g",
            "spark.executor.memory": "4096m",
            "spark.sql.shuffle.partitions": str(2 * threads),
            "spark.sql.ansi.enabled": "false",
            "spark.local.dir": os.path.join(work, "spill"),
            "spark.sql.warehouse.dir": os.path.join(work, "warehouse"),
            "spark.log.level": "ERROR",
        }
        builder = SparkSession.builder.master(f"local-cluster[{threads},1,4096]").appName("compare")
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()

    def open(self, question: str) -> None:
        for name, table in queries.tables(question).items():
            path = os.path.join(self.data, table.file)
            if table.is_csv:
                schema = ", ".join(f"{column} {TYPES[kind]}" for column, kind in table.columns)
                rows = self.session.read.schema(schema).csv(path)
            else:
                rows = self.session.read.parquet(path)
            rows.createOrReplaceTempView(name)

    def statement(self, question: str) -> str:
        return queries.sql(question, queries.SPARK)

    def collect(self, statement: str):
        return self.session.sql(statement).toArrow()

    collect_small = collect

    def arrow(self, answer):
        return answer

    def write(self, statement: str, path: str, kind: str) -> None:
        writer = self.session.sql(statement).write
        if kind == "csv":
            writer.csv(path)
        else:
            writer.option("compression", "snappy" if kind == "parquet" else "zstd").parquet(path)

    def process_ids(self) -> list[int]:
        """The processes below this one: driver and executors."""
        found, pending = [], [os.getpid()]
        while pending:
            children = []
            for task in os.listdir(f"/proc/{pending[0]}/task"):
                with open(f"/proc/{pending[0]}/task/{task}/children") as file:
                    children += map(int, file.read().split())
            pending = pending[1:] + children
            found += children
        return found
