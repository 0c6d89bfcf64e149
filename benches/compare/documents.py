"""minispark's job documents of the workloads: those of `jobs/` with a writer behind them, and `jobs/` here."""

import json
import os

from queries import JOBS

HERE = os.path.dirname(os.path.abspath(__file__))
WRITERS = {
    "csv": {"op": "write_csv", "header": False},
    "parquet": {"op": "write_parquet", "compression": "snappy"},
    "zstd": {"op": "write_parquet", "compression": "zstd"},
    # Never written: the rows stay in memory, in the order in which they come.
    "memory": {"op": "write_parquet"},
}


def written(question: str, answer: str, data: str, work: str) -> list[str]:
    """Writes a question's documents into `work/jobs`, and gives their paths.

    Their results go to `work/result`, of several to `work/<name>`.
    """
    folder = os.path.join(work, "jobs")
    os.makedirs(folder, exist_ok=True)
    paths = []
    sources = documents(question, data)
    for name, job in sources.items():
        target = os.path.join(work, "result" if len(sources) == 1 else name)
        path = os.path.join(folder, f"{name}.json")
        with open(path, "w") as file:
            json.dump(with_writer(job, WRITERS[answer], target), file, indent=1)
        paths.append(path)
    return paths


def documents(question: str, data: str) -> dict[str, dict]:
    """The documents of a question without a writer, by name."""
    if question.startswith("tpch"):
        folder = os.path.join(JOBS, "tpch", "sql" if question.startswith("tpchsql") else "")
        scale = question.removeprefix("tpchsql").removeprefix("tpch")
        parameters = {"data": os.path.join(data, f"tpch_sf{scale}")}
        names = [f"q{number:02}" for number in range(1, 23)]
    elif question.startswith(("groupby", "join")):
        folder, names, parameters = os.path.join(JOBS, "h2o"), [question], {"data": data, "size": "1e7"}
    else:
        folder, names, parameters = os.path.join(HERE, "jobs"), [question], {"data": data}
    return {name: read(os.path.join(folder, f"{name}.json"), parameters) for name in names}


def read(path: str, parameters: dict[str, str]) -> dict:
    with open(path) as file:
        job = json.load(file)
    job["params"] = {**job.get("params", {}), **parameters}
    return job


def with_writer(job: dict, writer: dict, target: str) -> dict:
    """The job with its one result written to a folder."""
    nodes, edges = job["dag"]["nodes"], job["dag"]["edges"]
    begun = {edge[0] for edge in edges}
    (leaf,) = [node["id"] for node in nodes if node["id"] not in begun]
    nodes.append({"id": "written", **writer, "path": target})
    edges.append([leaf, "written"])
    return job
