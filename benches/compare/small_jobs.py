"""P9: what a job of two kilobytes costs, in a process of its own and through a master."""

import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

import cluster
import documents
import systems
from peer import peak_mib
from systems import Run, Setting

SUBMISSIONS = 500
CLIENTS = 16
SYNCS = 200
COUNT = "SELECT word, count(*) AS n FROM (SELECT unnest({split}(lower(line), ' ')) AS word FROM {source}) t GROUP BY word"
LINES = "read_csv('{path}', header=false, delim='\\x01', quote='', escape='', auto_detect=false, columns={{'line': 'VARCHAR'}})"
PYTHON = {
    "duckdb": "import duckdb\nduckdb.connect().execute(\"COPY ({sql}) TO '{out}' (FORMAT csv, HEADER false)\")",
    "datafusion": (
        "import pyarrow as pa\nfrom datafusion import SessionContext\nc = SessionContext()\n"
        "c.register_csv('t', '{path}', schema=pa.schema([pa.field('line', pa.string())]), has_header=False, file_extension='.txt')\n"
        "c.sql(\"COPY ({sql}) TO '{out}' STORED AS CSV\").collect()"
    ),
    "polars": (
        "import polars as pl\nl = pl.scan_csv('{path}', has_header=False, schema={{'line': pl.String}}, separator='\\x01')\n"
        "w = l.select(w=pl.col('line').str.to_lowercase().str.split(' ')).explode('w')\n"
        "w.group_by('w').len().sink_csv('{out}', include_header=False)"
    ),
    "python alone": "pass",
}


def commands(setting: Setting) -> dict[str, list[str]]:
    """What is started, by the system's name; each leaves its result in `work/out`."""
    path, out = os.path.join(setting.data, "tiny.txt"), os.path.join(setting.work, "out", "result.csv")
    (job,) = documents.written("tiny", "csv", setting.data, setting.work)
    fresh = os.path.join(setting.work, "out")
    command = [setting.minispark, "run", job, "--threads", str(setting.threads), "--output-dir", fresh]
    found = {"minispark": command + systems.unsynced(setting.minispark), "minispark, synced to the disk": command}
    duck = COUNT.format(split="string_split", source=LINES.format(path=path))
    program = os.path.join(os.path.dirname(sys.executable), "duckdb")
    if os.path.exists(program):
        found["duckdb command line"] = [program, "-c", f"COPY ({duck}) TO '{out}' (FORMAT csv, HEADER false)"]
    statements = {"duckdb": duck, "datafusion": COUNT.format(split="string_to_array", source="t")}
    for name, text in PYTHON.items():
        # What DuckDB's text has in braces and backslashes stands in a Python string here.
        sql = statements.get(name, "").replace("\\", "\\\\")
        found[f"{name} (Python)" if name in statements or name == "polars" else name] = [
            sys.executable, "-c", text.format(path=path, out=out, sql=sql),
        ]
    return found


def timed(command: list[str], setting: Setting) -> tuple[float, float]:
    """Process start to end: seconds, and peak MiB (at least what this process has, which forks)."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=setting.work)
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(told.decode(errors="replace")[-300:])
    return seconds, usage.ru_utime + usage.ru_stime


def measured(setting: Setting, count: int, write) -> list[str]:
    return [*processes(setting, count, write), *submissions(setting, write)]


def processes(setting: Setting, count: int, write) -> list[str]:
    lines = [
        f"## P9: word count of 2 KB, from the start of the process to the result on disk ({count} runs in turn)",
        "",
        "| system | median ms | p95 ms | fastest ms | CPU ms |",
        "|---|--:|--:|--:|--:|",
    ]
    systems.emptied(setting.work)
    started = commands(setting)
    walls: dict[str, list[float]] = {name: [] for name in started}
    used: dict[str, list[float]] = {name: [] for name in started}
    failed: dict[str, str] = {}
    for number in range(-2, count):
        for name, command in started.items():
            if name in failed:
                continue
            systems.emptied(os.path.join(setting.work, "out"))
            # The result of the run before is another folder's.
            subprocess.run(["rm", "-rf", os.path.join(setting.work, "result")], check=True)
            try:
                seconds, cpu = timed(command, setting)
            except RuntimeError as error:
                failed[name] = " ".join(str(error).split()).replace("|", "/")
                continue
            if number >= 0:
                walls[name].append(seconds)
                used[name].append(cpu)
    for name, values in walls.items():
        if not values:
            lines.append(f"| {name} | fails: {failed.get(name, '')[-120:]} | | | |")
            continue
        values.sort()
        late = values[int(0.95 * (len(values) - 1))]
        cpu = statistics.median(used[name])
        write(Run(name, "P9", setting.threads, 1, query=statistics.median(values), process=statistics.median(values), cpu=cpu))
        lines.append(
            f"| {name} | {1000 * statistics.median(values):.1f} | {1000 * late:.1f} | {1000 * values[0]:.1f} | {1000 * cpu:.1f} |"
        )
    return [*lines, ""]


def sync_milliseconds(folder: str) -> float:
    """What it costs to append four kilobytes to a file and to make them durable."""
    path, times = os.path.join(folder, "synced"), []
    with open(path, "wb", buffering=0) as file:
        for _ in range(SYNCS):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    os.remove(path)
    return 1000 * statistics.median(times)


def tiny_document(setting: Setting, number: int) -> bytes:
    job = documents.documents("tiny", setting.data)["tiny"]
    target = os.path.join(setting.work, "results", str(number))
    return json.dumps(documents.with_writer(job, documents.WRITERS["csv"], target)).encode()


def submissions(setting: Setting, write) -> list[str]:
    """Jobs through REST, one by one and by several clients at once."""
    systems.emptied(setting.work)
    os.makedirs(os.path.join(setting.work, "results"))
    sync = sync_milliseconds(setting.work)
    lines = [f"## P9: the same through REST, submission to COMPLETED, {SUBMISSIONS} jobs", ""]
    try:
        with cluster.Cluster(setting, 1, slots=setting.threads) as running:
            idle = {name: peak_mib(process.pid) for name, process in zip(("master", "worker"), running.processes)}
            before = journal_syncs(running)
            one_by_one = latencies(setting, running, range(SUBMISSIONS))
            syncs = (journal_syncs(running) - before) / SUBMISSIONS if before is not None else None
            at_once = together(setting, running)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        return [*lines, f"fails: {error}", ""]
    one_by_one.sort()
    middle, late = statistics.median(one_by_one), one_by_one[int(0.99 * (len(one_by_one) - 1))]
    write(Run("minispark REST", "P9", setting.threads, 1, query=middle, process=late))
    per_job = f"{syncs:.1f} syncs of the journal a job" if syncs is not None else "the journal's syncs are not told"
    return lines + [
        f"- one by one: p50 {1000 * middle:.1f} ms, p99 {1000 * late:.1f} ms; {per_job}, and a write of 4 KiB with",
        f"  fdatasync takes {sync:.2f} ms in that folder (median of {SYNCS})",
        f"- {CLIENTS} clients at once: {at_once:.0f} jobs a second",
        f"- resident memory before the first job: master {idle['master']:.0f} MiB, worker {idle['worker']:.0f} MiB",
        "",
    ]


def journal_syncs(running: cluster.Cluster) -> float | None:
    connection = running.connection()
    connection.request("GET", "/metrics")
    found = re.search(r"^\S*journal_syncs_total\S* ([0-9.e+]+)$", connection.getresponse().read().decode(), re.MULTILINE)
    connection.close()
    return float(found[1]) if found else None


def latencies(setting: Setting, running: cluster.Cluster, numbers) -> list[float]:
    submitting, following = running.connection(), running.connection()
    times: list[float] = []
    for number in numbers:
        document = tiny_document(setting, number)
        started = time.perf_counter()
        job = cluster.submit(submitting, document)
        state = cluster.follow(following, job)
        times.append(time.perf_counter() - started)
        if state != "COMPLETED":
            raise RuntimeError(f"job {job} is {state}")
        # A stream of events ends with its connection.
        following.close()
        following.connect()
    return times


def together(setting: Setting, running: cluster.Cluster) -> float:
    """Jobs a second where several clients submit one after another each; one stream of events tells the ends."""
    share, failures = SUBMISSIONS // CLIENTS, []
    documents_of = [
        [tiny_document(setting, SUBMISSIONS + share * client + number) for number in range(share)]
        for client in range(CLIENTS)
    ]
    events = running.connection()
    events.request("GET", "/api/v1/events")
    answer = events.getresponse()
    answer.readline()

    def client(mine: list[bytes]) -> None:
        try:
            connection = running.connection()
            for document in mine:
                cluster.submit(connection, document)
            connection.close()
        except (OSError, RuntimeError, ValueError) as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(mine,)) for mine in documents_of]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    ended = failed = 0
    while ended < share * CLIENTS and not failures:
        line = answer.readline()
        # A task's or a stage's state stands deeper, behind another key.
        if line.startswith(b"data:") and b'"status":"COMPLETED"' in line:
            ended += 1
        failed += b'"status":"FAILED"' in line
        if failed or not line:
            failures.append(RuntimeError("a job failed, or the stream of events ended"))
    seconds = time.perf_counter() - started
    for thread in threads:
        thread.join()
    events.close()
    if failures:
        raise RuntimeError(str(failures[0]))
    return share * CLIENTS / seconds
