"""How each system is started for one measurement, and what comes back: a `Run`."""

import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

import digest
import documents
from workloads import Workload

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# Of a machine's memory, as minispark takes by default.
DEFAULT_SHARE = 0.6
TIMEOUT_SECONDS = 900


@dataclass
class Run:
    """One run of one system; seconds, and MiB."""

    system: str
    workload: str
    threads: int
    number: int
    query: float | None = None
    process: float | None = None
    cpu: float | None = None
    peak_mib: float | None = None
    spilled_mib: float | None = None
    # The seconds that the machine below took away meanwhile: a mark of noise.
    steal: float | None = None
    queries: dict[str, float] = field(default_factory=dict)
    digests: dict[str, dict] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    version: str = ""
    error: str = ""

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(asdict(self))


@dataclass
class Setting:
    """What holds for all runs."""

    data: str
    work: str
    threads: int
    minispark: str
    query: str
    floor: str


def stolen_seconds() -> float:
    with open("/proc/stat") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def memory_bytes() -> int:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(pages * DEFAULT_SHARE)


class FolderPeak(threading.Thread):
    """Watches how large a folder becomes, for those who do not say what they spill."""

    def __init__(self, folder: str):
        super().__init__(daemon=True)
        self.folder, self.peak, self.ended = folder, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            self.peak = max(self.peak, folder_bytes(self.folder))


def folder_bytes(folder: str) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                continue
    return total


def emptied(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    # What an earlier run left to be written is not to be written inside of this one.
    os.sync()


def measure(system: str, workload: Workload, setting: Setting, number: int) -> Run:
    """One run in a process of its own; that of number 0 warms up and holds the answer's digest."""
    run = Run(system, workload.id, setting.threads, number)
    emptied(setting.work)
    try:
        command = commands(system, workload, setting, is_checked=number == 0)
        output, usage = started(command, run, setting)
        reports = {"minispark": of_minispark, "floor": of_floor}
        reports.get(system, of_peer)(json.loads(output.strip().splitlines()[-1] if system != "minispark" else output), run)
        if run.cpu is None and system != "spark":
            run.cpu = usage.ru_utime + usage.ru_stime
        if number == 0 and not run.error:
            compare_files(system, workload, setting, run)
    except (OSError, ValueError, RuntimeError, subprocess.SubprocessError, KeyError) as error:
        run.error = f"{type(error).__name__}: {str(error)[-400:]}"
    return run


def commands(system: str, workload: Workload, setting: Setting, is_checked: bool) -> list[str]:
    """What is started."""
    threads = str(setting.threads)
    if system == "floor":
        inputs = {
            "wordcount": ["wc-simd", "books", "books_1g.csv"],
            "lines": ["wc-simd", "text", "big_text.csv"],
            "sales": ["join", "sales.csv", "catalog.csv"],
            "etl": ["etl", "books_1g.csv"],
        }[workload.question]
        inputs = [os.path.join(setting.data, name) if name.endswith(".csv") else name for name in inputs]
        return [setting.floor, *inputs, os.path.join(setting.work, "result.csv"), threads]
    if system != "minispark":
        command = [sys.executable, os.path.join(HERE, "peer.py"), system, workload.question, workload.answer]
        command += [setting.work, "--data", setting.data, "--threads", threads]
        if workload.limit_mb:
            command += ["--limit-mb", str(workload.limit_mb)]
        return command + (["--check"] if is_checked else [])
    jobs = documents.written(workload.question, workload.answer, setting.data, setting.work)
    budget = workload.limit_mb * 1_000_000 if workload.limit_mb else memory_bytes()
    if workload.answer != "memory" and len(jobs) == 1:
        command = [setting.minispark, "run", jobs[0], "--threads", threads, "--memory", f"{budget}B", "--json"]
        command += ["--quiet", "--output-dir", os.path.join(setting.work, "output")]
        return command if workload.is_synced else command + unsynced(setting.minispark)
    command = [setting.query]
    if workload.answer != "memory":
        command.append("--write")
    elif is_checked:
        command += ["--keep", os.path.join(setting.work)]
    return command + [threads, str(budget), setting.work, *jobs]


@functools.cache
def unsynced(program: str) -> list[str]:
    """The option with which a result is left to the system to write, as the peers leave theirs; older programs have
    none."""
    told = subprocess.run([program, "run", "--help"], capture_output=True, text=True).stdout
    return ["--no-sync"] if "--no-sync" in told else []


def started(command: list[str], run: Run, setting: Setting) -> tuple[str, resource.struct_rusage]:
    """Runs to the end; the output, and what the process used."""
    environment = dict(os.environ, POLARS_MAX_THREADS=str(setting.threads), PYTHONDONTWRITEBYTECODE="1")
    watch = FolderPeak(os.path.join(setting.work, "spill"))
    watch.start()
    steal, begin = stolen_seconds(), time.perf_counter()
    with open(os.path.join(setting.work, "stderr"), "w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        timer = threading.Timer(TIMEOUT_SECONDS, process.kill)
        timer.start()
        try:
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            # Nothing is left to run where the measurement is broken off.
            process.kill()
            raise
        finally:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        run.process = time.perf_counter() - begin
        run.steal = stolen_seconds() - steal
        watch.ended.set()
        watch.join()
        run.spilled_mib = watch.peak / (1 << 20)
        if process.returncode != 0:
            errors.seek(0)
            told = errors.read().strip()[-400:]
            raise RuntimeError(f"it ended with {process.returncode}: {told}")
    return output, usage


def of_minispark(report: dict, run: Run) -> None:
    """Takes what `minispark run --json` or the `query` entry says.

    A run's seconds are those of its process: the document is checked and planned in them, as a statement is
    in a peer's.
    """
    run.peak_mib = report["peak_memory_bytes"] / (1 << 20)
    if "queries" in report:
        run.queries = {line["name"]: line["seconds"] for line in report["queries"]}
        run.query = sum(run.queries.values())
        run.spilled_mib = sum(line["spilled_bytes"] for line in report["queries"]) / (1 << 20)
    else:
        run.query = run.process
        run.spilled_mib = report["spilled_bytes"] / (1 << 20)


def of_floor(report: dict, run: Run) -> None:
    run.query, run.peak_mib = report["secs"], report["rss_mib"]


def of_peer(report: dict, run: Run) -> None:
    run.version = report.get("version", "")
    if "error" in report:
        run.error = report["error"]
        return
    run.cpu, run.peak_mib = report.get("cpu"), report["peak_mib"]
    for line in report["queries"]:
        if "error" in line:
            run.failed[line["name"]] = line["error"]
            continue
        run.queries[line["name"]] = line["seconds"]
        if "digest" in line:
            run.digests[line["name"]] = line["digest"]
    if not run.queries:
        run.error = next(iter(run.failed.values()))
    run.query = sum(run.queries.values())


def compare_files(system: str, workload: Workload, setting: Setting, run: Run) -> None:
    """Digests what was left in files, off the clock and in a process of its own."""
    names = list(run.queries) or [workload.question]
    if system in ("minispark", "floor"):
        if workload.answer == "memory":
            paths = [os.path.join(setting.work, f"{name}.arrow") for name in names]
        elif len(names) > 1:
            paths = [os.path.join(setting.work, name) for name in names]
        else:
            paths = [os.path.join(setting.work, "result" if system == "minispark" else "result.csv")]
        done = subprocess.run(
            [sys.executable, digest.__file__, *paths], stdout=subprocess.PIPE, text=True, check=True
        )
        run.digests = dict(zip(names, map(json.loads, done.stdout.splitlines())))
    if workload.is_sorted:
        path = os.path.join(setting.work, "result" if system == "minispark" else "result.parquet")
        if not digest.is_sorted(path, ["id6", "v3"]):
            run.error = "its rows are not sorted"
