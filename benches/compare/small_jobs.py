#!/usr/bin/env python3
"""P9: how long small jobs take, alone and through a master.

    small_jobs.py --binary target/release/minispark [--jobs 500] [--clients 8] [--runs 30]

Prints, of a word count over 2 KB of text:
  run      process start to result on disk, `minispark run`, a process each
  rest     submit to COMPLETED through REST, one job after the other
  many     jobs a second with several clients at once
and beside them the journal's syncs a job and what one sync of the same folder costs.
Everything is written below --folder (default: a new temporary directory, removed at the end).
"""

import argparse
import http.client
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()


def document(path: Path) -> dict:
    return {
        "name": "small",
        "dag": {
            "nodes": [
                {"id": "read", "op": "read_text", "path": str(path)},
                {"id": "flat", "op": "flat_map", "fn": "tokenize"},
                {"id": "count", "op": "reduce_by_key", "key": "token", "fn": "count"},
            ],
            "edges": [["read", "flat"], ["flat", "count"]],
        },
    }


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def told(name: str, seconds: list[float], more: str = "") -> None:
    ms = [value * 1000 for value in seconds]
    print(
        f"{name:<8} n={len(ms):<5} p50 {statistics.median(ms):7.2f} ms  p90 {percentile(ms, .9):7.2f}"
        f"  p99 {percentile(ms, .99):7.2f}  max {max(ms):7.2f}  {more}",
        flush=True,
    )


def sync_cost(folder: Path) -> list[float]:
    """What an append and an fsync cost on the same filesystem: the floor of whatever is durable."""
    costs = []
    with open(folder / "probe", "wb", buffering=0) as probe:
        for _ in range(100):
            start = time.perf_counter()
            probe.write(b"x" * 300)
            os.fsync(probe.fileno())
            costs.append(time.perf_counter() - start)
    (folder / "probe").unlink()
    return costs


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Api:
    """One kept connection to the master."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def call(self, method: str, path: str, body: str | None = None) -> dict:
        headers = {"content-type": "application/json"} if body else {}
        self.connection.request(method, f"/api/v1{path}", body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text)

    def text(self, path: str) -> str:
        self.connection.request("GET", path)
        return self.connection.getresponse().read().decode()


def run_one(api: Api, text: str, pause: float) -> float:
    """Seconds from the submission to the answer that tells the end."""
    start = time.perf_counter()
    job = api.call("POST", "/jobs", text)["job_id"]
    while True:
        time.sleep(pause)
        state = api.call("GET", f"/jobs/{job}")["status"]
        if state == "COMPLETED":
            return time.perf_counter() - start
        if state in ("FAILED", "CANCELLED"):
            raise RuntimeError(f"job {job} ended {state}")


def metric(api: Api, name: str) -> float:
    for line in api.text("/metrics").splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    return float("nan")


def measure_run(binary: str, job: Path, folder: Path, runs: int) -> None:
    seconds = []
    for number in range(runs + 3):
        start = time.perf_counter()
        subprocess.run(
            [binary, "run", str(job), "--show", "0", "-q", "--output-dir", str(folder / "out")],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if number >= 3:
            seconds.append(time.perf_counter() - start)
    told("run", seconds, "2 syncs each")


def measure_rest(args: argparse.Namespace, job: Path, folder: Path) -> None:
    port, text = free_port(), job.read_text()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    share = ["--write-root", str(folder / "results")] if args.share else []
    master = subprocess.Popen(
        [args.binary, "master", "--bind", f"127.0.0.1:{port}", "--flight-port", "0",
         "--state-dir", str(folder / "state"), "--output-dir", str(folder / "results"),
         "--read-root", str(folder), "--log-level", "warn"], **quiet)
    worker = subprocess.Popen(
        [args.binary, "worker", "--port", "0", "--master", f"http://127.0.0.1:{port}",
         "--work-dir", str(folder / "worker"), "--read-root", str(folder),
         "--memory", "256MiB", "--slots", str(args.slots), "--log-level", "warn", *share], **quiet)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                if Api(port).call("GET", "/cluster")["slots"] > 0:
                    break
            except (OSError, RuntimeError):
                pass
            if time.monotonic() > deadline:
                raise RuntimeError("no cluster within 30 s")
            time.sleep(0.05)
        api = Api(port)
        for _ in range(10):
            run_one(api, text, 0.0002)
        before = metric(api, "minispark_journal_syncs_total")
        seconds = [run_one(api, text, 0.0002) for _ in range(args.jobs)]
        syncs = (metric(api, "minispark_journal_syncs_total") - before) / args.jobs
        told("rest", seconds, f"{syncs:.1f} journal syncs a job")
        each, seconds = args.jobs // args.clients, []

        def client() -> None:
            own = Api(port)
            seconds.extend(run_one(own, text, 0.005) for _ in range(each))

        threads = [threading.Thread(target=client) for _ in range(args.clients)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - start
        told("many", seconds, f"{len(seconds) / took:.0f} jobs/s, {args.clients} clients")
        for name, process in (("master", master), ("worker", worker)):
            status = Path(f"/proc/{process.pid}/status").read_text()
            resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            print(f"{name:<8} {resident}")
    finally:
        for process in (worker, master):
            process.terminate()
            process.wait(timeout=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/minispark")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--share", action="store_true", help="the worker shares the output folder")
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="small-jobs-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        random.seed(1)
        words = folder / "words.txt"
        lines = []
        while sum(map(len, lines)) < 2048:
            lines.append(" ".join(random.choice(WORDS) for _ in range(8)) + "\n")
        words.write_text("".join(lines))
        job = folder / "job.json"
        job.write_text(json.dumps(document(words)))
        told("sync", sync_cost(folder), "an append and an fsync, the disk's own cost")
        measure_run(args.binary, job, folder, args.runs)
        measure_rest(args, job, folder)
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
