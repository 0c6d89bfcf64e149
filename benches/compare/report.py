"""From runs to tables in Markdown."""

import os
import platform
import statistics
import subprocess
import time

import digest
from systems import Run, Setting
from workloads import Workload

# The systems that minispark is compared with; the floor is no engine and Spark has processes of its own.
RIVALS = ("duckdb", "datafusion", "polars")


def heading(setting: Setting, arguments: list[str], versions: dict[str, str]) -> str:
    """What was measured where: the machine, the versions, the command."""
    told = subprocess.run([setting.minispark, "version", "--json"], capture_output=True, text=True).stdout
    version = next((line.split('"')[3] for line in told.splitlines() if '"version"' in line), "?")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    peers = ", ".join(f"{name} {number}" for name, number in versions.items())
    return "\n".join([
        "# Side by side",
        "",
        f"- {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; `benches/compare/run {' '.join(arguments)}`",
        f"- {model}, {os.cpu_count()} cores, {memory:.1f} GiB; {platform.system()} {platform.release()}; "
        f"{setting.threads} threads",
        f"- minispark {version} ({commit or 'no repository'}); {peers}",
        "",
    ])


def of_system(runs: list[Run], system: str) -> list[Run]:
    """A system's measured runs; its only one where it has but that."""
    own = [run for run in runs if run.system == system and not run.error]
    return [run for run in own if run.number > 0] or own


def median(runs: list[Run], what: str) -> float | None:
    values = [value for run in runs if (value := getattr(run, what)) is not None]
    return statistics.median(values) if values else None


def spread_of(runs: list[Run]) -> float:
    """How far the runs lie apart, as a part of their median."""
    seconds = [run.query for run in runs]
    return (max(seconds) - min(seconds)) / statistics.median(seconds) if len(seconds) > 1 else 0.0


def spread(workload: Workload, runs: list[Run]) -> float:
    """The spread of minispark's runs or of the best peer's, whichever is larger."""
    names = {run.system for run in runs}
    rivals = [name for name in RIVALS if name in names and of_system(runs, name)]
    best = sorted(rivals, key=lambda name: median(of_system(runs, name), "query"))[:1]
    return max([spread_of(of_system(runs, name)) for name in [*best, "minispark"] if of_system(runs, name)], default=0)


def reference(runs: list[Run]) -> dict[str, dict]:
    """The answers that others are compared with: DuckDB's, else those of the first that has some."""
    having = [run for run in runs if run.digests and not run.error]
    having.sort(key=lambda run: (run.system != "duckdb", run.system == "minispark"))
    return having[0].digests if having else {}


def is_equal(runs: list[Run], system: str) -> bool | None:
    """Whether a system's answers are those of the reference; None where there is nothing to compare."""
    own = next((run.digests for run in runs if run.system == system and run.digests), None)
    expected = reference(runs)
    if own is None or expected is own:
        return None if own is None else True
    shared = own.keys() & expected.keys()
    return bool(shared) and all(digest.equal(own[name], expected[name]) for name in shared)


def different(runs: list[Run], system: str) -> list[str]:
    own = next((run.digests for run in runs if run.system == system and run.digests), {})
    expected = reference(runs)
    return [name for name in sorted(own.keys() & expected.keys()) if not digest.equal(own[name], expected[name])]


def best_peer(runs: list[Run]) -> tuple[str, float] | None:
    """The fastest of the rivals whose answer is right and whole, with its seconds."""
    candidates = []
    for name in RIVALS:
        own = of_system(runs, name)
        if own and is_equal(runs, name) and not any(run.failed for run in own):
            candidates.append((name, median(own, "query")))
    return min(candidates, key=lambda pair: pair[1], default=None)


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def tables(picked: list[Workload], results: dict[str, list[Run]]) -> list[str]:
    """The summary, the sums of the families, all systems in full, and the queries of suites."""
    shown = [line for line in picked if results.get(line.id)]
    if not shown:
        return []
    return [*summary(shown, results), *sums(shown, results), *suites(shown, results), *details(shown, results)]


def ahead(runs: list[Run]) -> float | None:
    """How often minispark could have answered in the best peer's time; None where it gave no equal answer."""
    own, best = of_system(runs, "minispark"), best_peer(runs)
    if not own or best is None or not is_equal(runs, "minispark"):
        return None
    return best[1] / median(own, "query")


def summary(shown: list[Workload], results: dict[str, list[Run]]) -> list[str]:
    lines = [
        "## minispark and the best peer",
        "",
        "`ahead` is the best peer's seconds divided by minispark's, above 1 minispark is faster; by CPU it is the same of",
        "user and system seconds, which other load on the machine moves less.",
        "",
        "| id | workload | minispark s | best peer s | which | ahead | CPU s | peer CPU s | ahead by CPU | peak MiB | peer MiB | equal |",
        "|---|---|--:|--:|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for line in shown:
        runs = results[line.id]
        own, best = of_system(runs, "minispark"), best_peer(runs)
        peer = of_system(runs, best[0]) if best else []
        ratio = ahead(runs)
        verdict = {True: "yes", False: "NO", None: ""}[is_equal(runs, "minispark")]
        error = next((run.error for run in runs if run.system == "minispark" and run.error), "")
        noisy = " (noisy)" if spread(line, runs) > 0.2 else ""
        cpu, peer_cpu = median(own, "cpu"), median(peer, "cpu")
        by_cpu = f"{peer_cpu / cpu:.2f}" if ratio and cpu and peer_cpu else "-"
        cells = [
            line.id, line.title, seconds(median(own, "query")), seconds(best[1] if best else None),
            best[0] if best else "", f"{ratio:.2f}{noisy}" if ratio else "-", seconds(cpu),
            seconds(peer_cpu), by_cpu, whole(median(own, "peak_mib")), whole(median(peer, "peak_mib")),
            "failed: " + error.replace("\n", " ").replace("|", "/")[:80] if error else verdict,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def sums(shown: list[Workload], results: dict[str, list[Run]]) -> list[str]:
    """Sum and geometric mean of the families of queries."""
    lines = []
    families = dict.fromkeys(line.family for line in shown if line.family != line.id)
    for family in families:
        members = [line.id for line in shown if line.family == family]
        row = {}
        for system in ("minispark", *RIVALS):
            own = [median(of_system(results[name], system), "query") for name in members]
            if own and None not in own:
                row[system] = own
        best = [pair[1] for name in members if (pair := best_peer(results[name]))]
        if len(best) == len(members):
            row["best of each"] = best
        for system, own in row.items():
            mean = statistics.geometric_mean(own)
            lines.append(f"| {family} ({len(members)}) | {system} | {seconds(sum(own))} | {seconds(mean)} |")
    if not lines:
        return []
    return ["## Families of queries", "", "| family | system | sum s | geomean s |", "|---|---|--:|--:|", *lines, ""]


def suites(shown: list[Workload], results: dict[str, list[Run]]) -> list[str]:
    """The queries of those workloads that ask several in one process."""
    sections = []
    for line in shown:
        runs = results[line.id]
        own = {system: of_system(runs, system) for system in ("minispark", *RIVALS, "spark")}
        names = sorted({name for group in own.values() for run in group for name in run.queries})
        if len(names) < 2:
            continue
        present = [system for system, group in own.items() if group]
        sections += [f"## {line.id}: {line.title}", "", "| query | " + " | ".join(present) + " | ahead |"]
        sections += ["|---|" + "--:|" * (len(present) + 1)]
        totals = {system: [] for system in present}
        for name in names:
            row = {}
            for system in present:
                values = [run.queries[name] for run in own[system] if name in run.queries]
                if values:
                    row[system] = statistics.median(values)
                    totals[system].append(row[system])
            peers = [row[system] for system in RIVALS if system in row]
            ratio = f"{min(peers) / row['minispark']:.2f}" if peers and "minispark" in row else "-"
            wrong = [system for system in present if name in different(runs, system)]
            note = f" (unequal: {', '.join(wrong)})" if wrong else ""
            sections.append(f"| {name}{note} | " + " | ".join(seconds(row.get(s)) or "fails" for s in present) + f" | {ratio} |")
        for title, fold in (("sum", sum), ("geomean", statistics.geometric_mean)):
            cells = [seconds(fold(totals[s])) if len(totals[s]) == len(names) else "" for s in present]
            sections.append(f"| {title} | " + " | ".join(cells) + " | |")
        sections.append("")
    return sections


def details(shown: list[Workload], results: dict[str, list[Run]]) -> list[str]:
    lines = [
        "## All systems",
        "",
        "Medians; spread is the distance of the slowest run from the fastest, as a part of the median; spilled is",
        "what minispark counted, and of others the most that lay in their temporary folder at once.",
        "",
        "| id | system | query s | process s | CPU s | peak MiB | spilled MiB | spread | runs | equal |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for line in shown:
        runs = results[line.id]
        for system in dict.fromkeys(run.system for run in runs):
            own = of_system(runs, system)
            if not own:
                error = next((run.error for run in runs if run.system == system and run.error), "")
                told = " ".join(error.split()).replace("|", "/")[:120]
                lines.append(f"| {line.id} | {system} | fails: {told} | | | | | | | |")
                continue
            equal = {True: "yes", False: "NO", None: ""}[is_equal(runs, system)]
            cells = [
                line.id, system, seconds(median(own, "query")), seconds(median(own, "process")),
                seconds(median(own, "cpu")), whole(median(own, "peak_mib")), whole(median(own, "spilled_mib")),
                f"{100 * spread_of(own):.0f} %", str(len(own)), equal,
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]
