"""A master and workers of one thread each on this machine, and the same jobs there and embedded (P8)."""

import http.client
import json
import os
import subprocess
import time

import digest
import documents
import report
import systems
from peer import peak_mib
from systems import Run, Setting
from workloads import Workload

START_SECONDS = 20
JOB_SECONDS = 600
# The workloads of P8 and P10: their answers go to files and are made durable, as a cluster's are.
JOBS = [
    Workload("P8 P1", "word count, 1.0 GB CSV -> CSV", "wordcount", "csv", "books", (), is_synced=True),
    Workload("P8 P2q5", "h2o group-by q5 -> Parquet", "groupby_q05", "parquet", "h2o", (), is_synced=True),
    Workload("P8 P3q5", "h2o join q5 -> Parquet", "join_q05", "parquet", "h2o", (), is_synced=True),
]


class Cluster:
    """Processes with folders of their own below `setting.work/cluster`; ended on leaving."""

    def __init__(self, setting: Setting, workers: int, slots: int = 1, memory: int | None = None):
        self.setting, self.processes = setting, []
        self.folder = os.path.join(setting.work, "cluster")
        os.makedirs(self.folder)
        roots = ["--read-root", setting.data, "--read-root", setting.work]
        # The machine's budget is shared by the workers.
        memory = memory or systems.memory_bytes() // workers
        try:
            log = self.start("master", ["master", "--bind", "127.0.0.1:0", "--flight-port", "0",
                                        "--state-dir", os.path.join(self.folder, "state"), "--output-dir",
                                        os.path.join(self.folder, "output"), *roots, "--write-root", setting.work])
            self.address = self.logged(log, "rest").removeprefix("http://")
            for number in range(workers):
                work = os.path.join(self.folder, f"worker-{number}")
                self.start(f"worker-{number}", ["--server", f"http://{self.address}", "worker", "--port", "0",
                                                "--slots", str(slots), "--memory", f"{memory}B",
                                                "--work-dir", work, *roots, "--write-root", setting.work])
            self.wait_for(workers)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def start(self, name: str, arguments: list[str]) -> str:
        log = os.path.join(self.folder, f"{name}.log")
        with open(log, "w") as file:
            command = [self.setting.minispark, "--log-format", "json", *arguments]
            self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file))
        return log

    def logged(self, log: str, field: str) -> str:
        """The value of a field of the first line of a log that has it."""
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            with open(log) as file:
                for line in file:
                    if f'"{field}"' in line:
                        return json.loads(line)["context"][field]
            if self.processes[-1].poll() is not None:
                break
            time.sleep(0.005)
        with open(log) as file:
            raise RuntimeError(f"no {field} in {log}: {file.read()[-300:]}")

    def connection(self) -> http.client.HTTPConnection:
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=JOB_SECONDS)
        connection.connect()
        return connection

    def asked(self, method: str, path: str, body: bytes | None = None) -> dict:
        connection = self.connection()
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content)

    def wait_for(self, workers: int) -> None:
        limit = time.monotonic() + START_SECONDS
        while self.asked("GET", "/health")["workers"] < workers:
            if time.monotonic() > limit:
                raise RuntimeError("the workers do not come")
            time.sleep(0.01)

    def run(self, document: bytes) -> float:
        """Submits a job and follows its events to the end; the seconds from the one to the other."""
        submitting, following = self.connection(), self.connection()
        started = time.perf_counter()
        job = submit(submitting, document)
        state = follow(following, job)
        seconds = time.perf_counter() - started
        submitting.close()
        following.close()
        if state != "COMPLETED":
            raise RuntimeError(f"job {job} is {state}: {self.asked('GET', f'/api/v1/jobs/{job}').get('error')}")
        return seconds

    def peak_mib(self) -> float:
        """The largest peak of a process."""
        return max(peak_mib(process.pid) for process in self.processes)

    def cpu_seconds(self) -> float:
        """What all processes have used so far."""
        ticks = 0
        for process in self.processes:
            with open(f"/proc/{process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def submit(connection: http.client.HTTPConnection, document: bytes) -> str:
    connection.request("POST", "/api/v1/jobs", document)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"submit: {answer.status} {content[:300]!r}")
    return json.loads(content)["job_id"]


def follow(connection: http.client.HTTPConnection, job: str) -> str:
    """Reads a job's events to their end; its last state."""
    connection.request("GET", f"/api/v1/jobs/{job}/events")
    answer = connection.getresponse()
    state, name = "?", ""
    for line in answer:
        if line.startswith(b"event:"):
            name = line[6:].strip().decode()
        elif line.startswith(b"data:"):
            data = json.loads(line[5:])
            state = data.get("status", state)
        elif not line.strip() and name == "end":
            break
    return state


def measure(workload: Workload, setting: Setting, workers: int, number: int) -> Run:
    """One run on a fresh cluster."""
    run = Run(f"minispark, {workers} workers", workload.id, workers, number)
    systems.emptied(setting.work)
    try:
        (path,) = documents.written(workload.question, workload.answer, setting.data, setting.work)
        with open(path, "rb") as file:
            document = file.read()
        with Cluster(setting, workers) as cluster:
            used, begin = cluster.cpu_seconds(), time.perf_counter()
            run.query = cluster.run(document)
            run.process = time.perf_counter() - begin
            run.cpu = cluster.cpu_seconds() - used
            run.peak_mib = cluster.peak_mib()
        if number == 0:
            run.digests = {workload.question: digest.of_files(os.path.join(setting.work, "result"))}
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        run.error = f"{type(error).__name__}: {str(error)[-300:]}"
    return run


def compared(setting: Setting, workers: int, runs: int, with_spark: bool, write) -> list[str]:
    """P8: embedded with as many threads as there are workers, and the cluster, in turn."""
    embedded = Setting(**{**vars(setting), "threads": workers})
    lines = [
        f"## P8: a master and {workers} workers of one thread, against embedded with {workers} threads",
        "",
        "Seconds go from the submission to COMPLETED, as a client sees it; peak memory is that of the largest process.",
        "",
        "| job | embedded s | cluster s | cluster / embedded | embedded CPU s | cluster CPU s | cluster peak MiB | equal |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for workload in JOBS:
        done = []
        for number in range(runs + 1):
            for measured in (
                lambda: systems.measure("minispark", workload, embedded, number),
                lambda: measure(workload, setting, workers, number),
            ):
                run = measured()
                write(run)
                done.append(run)
        own = report.of_system(done, "minispark")
        theirs = report.of_system(done, f"minispark, {workers} workers")
        if not own or not theirs:
            error = next(run.error for run in done if run.error)
            lines.append(f"| {workload.title} | fails: {error.replace('|', '/')[:100]} | | | | | | |")
            continue
        seconds = [report.median(group, "query") for group in (own, theirs)]
        is_same = digest.equal(*(next(iter(run.digests.values()), None) for run in done[:2]))
        lines.append(
            f"| {workload.title} | {seconds[0]:.3f} | {seconds[1]:.3f} | {seconds[1] / seconds[0]:.2f} | "
            f"{report.median(own, 'cpu'):.2f} | {report.median(theirs, 'cpu'):.2f} | "
            f"{report.median(theirs, 'peak_mib'):.0f} | {'yes' if is_same else 'NO'} |"
        )
    if with_spark:
        lines += ["", "Spark's figures with as many executors stand under P1 and P5 above."]
    return [*lines, ""]
