#!/usr/bin/env python3
"""Random jobs over random data, each run by minispark in several ways and as SQL by DuckDB.

Every job is made from one seed, which is printed with what differed: `fuzz.py --seed N --jobs 1` runs
that job again, and `--keep FOLDER` leaves its files. A job is run embedded with its own `partitions`,
with others, and in a tiny memory budget; `minispark explain --format sql` writes the statement that
DuckDB runs. Rows are compared as multisets (floats within 1e-9 of their size), the order's columns in
sequence where the result has an order. Text results have the same bytes in every configuration.

Where both refuse (an overflow, a bad cast) they agree. What differs on purpose is in KNOWN.
"""

import argparse
import datetime
import decimal
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.join(os.path.dirname(HERE), "target", "release", "minispark")

# What minispark refuses and DuckDB computes: its whole numbers are of 64 bits where DuckDB's sums
# are of 128, and it divides by zero nowhere.
KNOWN = re.compile(r"overflow|division by zero|modulo by zero|out of range|does not fit|beyond", re.IGNORECASE)

TYPES = ["int64", "int32", "uint8", "float64", "decimal", "string", "bool", "date", "timestamp"]
ARROW = {
    "int64": pa.int64(), "int32": pa.int32(), "uint8": pa.uint8(), "float64": pa.float64(),
    "decimal": pa.decimal128(10, 2), "string": pa.string(), "bool": pa.bool_(), "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
WORDS = ["", "a", "b", "ab", "B", "A b", " c ", "été", "日本", "x" * 40, "10", "-3", "a,b", 'q"q', "a|b|c", "z" * 13]


def value(rng, kind):
    """A value; sometimes an extreme one, sometimes null."""
    if rng.random() < 0.12:
        return None
    extreme = rng.random() < 0.03
    if kind == "int64":
        return rng.choice([2**62, -(2**62), 2**31]) if extreme else rng.randint(-9, 9)
    if kind == "int32":
        return rng.choice([2**31 - 1, -(2**31)]) if extreme else rng.randint(-5, 20)
    if kind == "uint8":
        return 255 if extreme else rng.randint(0, 6)
    if kind == "float64":
        special = [float("nan"), 0.0, -0.0, 1e300, -1e-300, 0.1]
        return rng.choice(special) if extreme or rng.random() < 0.2 else rng.randint(-40, 40) / 8
    if kind == "decimal":
        cents = 99_999_999_99 if extreme else rng.randint(-500, 500)
        return decimal.Decimal(cents).scaleb(-2)
    if kind == "string":
        return rng.choice(WORDS)
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "date":
        day = rng.randint(-30000, 30000) if extreme else rng.randint(8000, 8020)
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
    micros = rng.randint(-10**15, 10**15) if extreme else rng.randint(0, 50) * 3_600_000_000 + 7
    return datetime.datetime(1995, 1, 1) + datetime.timedelta(microseconds=micros)


class Table:
    """A node of the job: its id and its columns."""

    def __init__(self, name, columns, order=None):
        self.name, self.columns, self.order = name, columns, order

    def of(self, *kinds):
        return [name for name, kind in self.columns.items() if kind in kinds]


NUMBERS = ("int64", "int32", "uint8", "float64", "decimal")
WHOLE = ("int64", "int32", "uint8")


class Maker:
    """Makes one job."""

    def __init__(self, rng, folder):
        self.rng, self.folder = rng, folder
        self.nodes, self.edges, self.tables = [], [], []
        self.count = 0

    def pick(self, table, *kinds):
        names = table.of(*kinds)
        return self.rng.choice(names) if names else None

    def fresh(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    # ------------------------------------------------------------ expressions --
    def expression(self, table, kind, depth=2):
        """The text of an expression of a kind."""
        rng = self.rng
        column = self.pick(table, kind)
        if depth == 0 or rng.random() < 0.3:
            return column if column and rng.random() < 0.8 else self.literal(kind)
        again = lambda wanted: self.expression(table, wanted, depth - 1)
        condition = lambda: self.condition(table, depth - 1)
        choices = [
            lambda: f"case when {condition()} then {again(kind)} else {again(kind)} end",
            lambda: f"coalesce({again(kind)}, {self.literal(kind)})",
            lambda: f"nullif({again(kind)}, {self.literal(kind)})",
        ]
        if kind in ("int64", "float64", "decimal"):
            choices += [
                lambda: f"({again(kind)} + {again(kind)})", lambda: f"({again(kind)} - {again(kind)})",
                lambda: f"abs({again(kind)})", lambda: f"(- {again(kind)})",
            ]
            if kind != "decimal":
                choices += [lambda: f"({again(kind)} * {again(kind)})"]
        if kind == "int64":
            choices += [
                lambda: f"length({again('string')})", lambda: f"({again('int64')} % 7)",
                lambda: f"extract(year from {again('date')})", lambda: f"extract(month from {again('timestamp')})",
                lambda: f"({again('int32')} + {again('uint8')})",
                lambda: f"(cast({again('date')} as date) - date '1992-01-01')",
                lambda: f"greatest({again('int64')}, {again('int64')})",
                lambda: f"try_cast({again('string')} as int64)",
                lambda: f"cast({again('bool')} as int64)",
            ]
        if kind == "float64":
            choices += [
                lambda: f"({again('int64')} / 4)", lambda: f"cast({again('int32')} as float64)",
                lambda: f"cast({again('decimal')} as float64)", lambda: f"round({again('float64')})",
                lambda: f"floor({again('float64')})",
            ]
        if kind == "string":
            choices += [
                lambda: f"lower({again('string')})", lambda: f"upper({again('string')})",
                lambda: f"({again('string')} || {again('string')})", lambda: f"trim({again('string')})",
                lambda: f"substr({again('string')}, {rng.randint(1, 3)}, {rng.randint(0, 4)})",
                lambda: f"replace({again('string')}, 'a', 'xy')", lambda: f"left({again('string')}, 2)",
                lambda: f"right({again('string')}, 2)", lambda: f"cast({again('int64')} as string)",
                lambda: f"split_part({again('string')}, '|', 2)", lambda: f"reverse({again('string')})",
                lambda: f"concat({again('string')}, {again('string')})",
                lambda: f"lpad({again('string')}, 4, '*')", lambda: f"cast({again('date')} as string)",
            ]
        if kind == "date":
            choices += [
                lambda: f"cast({again('timestamp')} as date)",
                lambda: f"cast(date_trunc('month', {again('date')}) as date)",
                lambda: f"cast({again('date')} + interval '{rng.randint(1, 40)} days' as date)",
            ]
        if kind == "timestamp":
            choices += [
                lambda: f"date_trunc('{rng.choice(['hour', 'day', 'year'])}', {again('timestamp')})",
                lambda: f"({again('timestamp')} + interval '{rng.randint(1, 9)} hours')",
            ]
        if kind == "bool":
            return self.condition(table, depth)
        if kind in ("int32", "uint8"):
            return column or self.literal(kind)
        return rng.choice(choices)()

    def literal(self, kind):
        rng = self.rng
        return {
            "int64": lambda: str(rng.randint(-9, 9)),
            "int32": lambda: f"cast({rng.randint(-5, 20)} as int32)",
            "uint8": lambda: f"cast({rng.randint(0, 6)} as uint8)",
            "float64": lambda: f"{rng.randint(-40, 40) / 8!r}e0",
            "decimal": lambda: f"cast({rng.randint(-500, 500) / 100!r} as decimal(10,2))",
            "string": lambda: "'" + rng.choice(WORDS[:12]).replace("'", "''") + "'",
            "bool": lambda: rng.choice(["true", "false"]),
            "date": lambda: f"date '199{rng.randint(1, 3)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}'",
            "timestamp": lambda: f"timestamp '1995-01-0{rng.randint(1, 3)} 0{rng.randint(0, 9)}:00:00'",
        }[kind]()

    def condition(self, table, depth=2):
        rng = self.rng
        kind = rng.choice(TYPES)
        if depth <= 0:
            return self.pick(table, "bool") or "true"
        left = self.expression(table, kind, depth - 1)
        right = self.expression(table, kind, depth - 1)
        choices = [
            lambda: f"({left} {rng.choice(['=', '<>', '<', '<=', '>', '>='])} {right})",
            lambda: f"({left} is {rng.choice(['', 'not '])}null)",
            lambda: f"({left} is {rng.choice(['', 'not '])}distinct from {right})",
            lambda: f"({left} between {right} and {self.literal(kind)})",
            lambda: f"({left} {rng.choice(['', 'not '])}in ({self.literal(kind)}, {self.literal(kind)}))",
            lambda: f"({self.condition(table, depth - 1)} {rng.choice(['and', 'or'])} {self.condition(table, depth - 1)})",
            lambda: f"(not {self.condition(table, depth - 1)})",
            lambda: f"({self.expression(table, 'string', depth - 1)} {rng.choice(['like', 'not like', 'ilike'])} "
                    f"'{rng.choice(['a%', '%b', '%a%', '_', 'a_%', '%', 'ab', '%é%'])}')",
            lambda: f"starts_with({self.expression(table, 'string', depth - 1)}, 'a')",
        ]
        return rng.choice(choices)()

    # ------------------------------------------------------------------ nodes --
    def node(self, stem, op, inputs, columns, order=None, **fields):
        name = self.fresh(stem)
        self.nodes.append({"id": name, "op": op, **fields})
        self.edges += [[table.name, name] for table in inputs]
        table = Table(name, columns, order)
        self.tables.append(table)
        return table

    def source(self):
        rng = self.rng
        columns = {f"{kind[0]}{number}": kind for number, kind in enumerate(rng.sample(TYPES, rng.randint(2, 6)))}
        rows = rng.choice([0, 1, 7, 60, 400, 3000])
        data = {name: [value(rng, kind) for _ in range(rows)] for name, kind in columns.items()}
        name = self.fresh("t")
        path = os.path.join(self.folder, f"{name}.parquet")
        table = pa.table({n: pa.array(v, ARROW[columns[n]]) for n, v in data.items()})
        pq.write_table(table, path, row_group_size=max(rows // rng.choice([1, 3, 8]), 1))
        self.nodes.append({"id": name, "op": "read_parquet", "path": path})
        table = Table(name, columns)
        self.tables.append(table)
        return table

    def step(self):
        """One node more over what is there."""
        rng = self.rng
        table = rng.choice(self.tables[-3:])
        moves = [self.map, self.map, self.filter, self.filter, self.reduce, self.reduce, self.join, self.join, self.distinct,
                 self.union, self.set_operation, self.top, self.window, self.unpivot, self.aggregate, self.split]
        return rng.choice(moves)(table)

    def map(self, table):
        rng = self.rng
        added = {}
        for _ in range(rng.randint(1, 3)):
            added[self.fresh("c")] = rng.choice(["int64", "float64", "decimal", "string", "bool", "date", "timestamp"])
        texts = {name: self.typed(table, kind) for name, kind in added.items()}
        if rng.random() < 0.5:
            return self.node("m", "map", [table], {**table.columns, **added}, with_=texts)
        kept = rng.sample(sorted(table.columns), rng.randint(1, len(table.columns)))
        select = {**{name: f'"{name}"' for name in kept}, **texts}
        return self.node("m", "map", [table], {**{n: table.columns[n] for n in kept}, **added}, select=select)

    def typed(self, table, kind):
        """An expression that is of exactly this kind, whatever its parts have widened to."""
        name = {"decimal": "decimal(18,2)"}.get(kind, kind)
        return f"cast({self.expression(table, kind)} as {name})"

    def filter(self, table):
        return self.node("f", "filter", [table], table.columns, where=self.condition(table))

    def aggregates(self, table):
        rng, chosen, kinds = self.rng, {}, {}
        for _ in range(rng.randint(1, 3)):
            name = self.fresh("a")
            number, any_column = self.pick(table, *NUMBERS), rng.choice(sorted(table.columns))
            choices = [("count(*)", "int64"), (f"count({any_column})", "int64"), (f"count(distinct {any_column})", "int64"),
                       (f"min({any_column})", table.columns[any_column]), (f"max({any_column})", table.columns[any_column])]
            if number:
                kind = table.columns[number]
                total = "float64" if kind == "float64" else "decimal" if kind == "decimal" else "int64"
                choices += [(f"sum({number})", total), (f"avg({number})", "float64"), (f"stddev_samp({number})", "float64")] * 2
                choices += [(f"sum({number}) filter (where {self.condition(table, 1)})", total)]
                choices += [(f"median(cast({number} as float64))", "float64")]
            flag = self.pick(table, "bool")
            if flag:
                choices += [(f"bool_and({flag})", "bool"), (f"bool_or({flag})", "bool")]
            text, kind = rng.choice(choices)
            chosen[name] = text
            kinds[name] = kind
        return chosen, kinds

    def reduce(self, table):
        keys = self.rng.sample(sorted(table.columns), min(self.rng.randint(1, 2), len(table.columns)))
        aggs, kinds = self.aggregates(table)
        return self.node("r", "reduce_by_key", [table], {**{k: table.columns[k] for k in keys}, **kinds}, key=keys, aggs=aggs)

    def aggregate(self, table):
        aggs, kinds = self.aggregates(table)
        return self.node("g", "aggregate", [table], kinds, aggs=aggs)

    def renamed(self, table):
        """The table with names of its own, so that a join has no two columns of one name."""
        names = {self.fresh("j"): name for name in table.columns}
        columns = {new: table.columns[old] for new, old in names.items()}
        return self.node("m", "map", [table], columns, select={new: f'"{old}"' for new, old in names.items()})

    def join(self, left):
        rng = self.rng
        right = self.renamed(rng.choice(self.tables))
        how = rng.choice(["inner", "left", "right", "full", "semi", "anti"])
        pairs = [(a, b) for a in left.columns for b in right.columns if left.columns[a] == right.columns[b]]
        if not pairs:
            return self.filter(left)
        chosen = rng.sample(pairs, min(len(pairs), rng.randint(1, 2)))
        fields = {"left_key": [a for a, _ in chosen], "right_key": [b for _, b in chosen], "how": how}
        if rng.random() < 0.3:
            a, b = rng.choice(pairs)
            fields["on"] = f"l.{a} {rng.choice(['<>', '<', '>='])} r.{b}"
        if rng.random() < 0.2:
            fields["null_safe"] = True
        columns = left.columns if how in ("semi", "anti") else {**left.columns, **right.columns}
        # Many partners a row would make tables that nobody wants to wait for.
        few = self.node("g", "reduce_by_key", [right], {b: right.columns[b] for b in right.columns},
                        key=list(right.columns), aggs={"n": "count(*)"})
        few = self.node("m", "map", [few], right.columns, drop=["n"])
        return self.node("j", "join", [left, few], columns, **fields)

    def distinct(self, table):
        return self.node("d", "distinct", [table], table.columns)

    def same(self, table):
        """Another table with the same columns."""
        return self.node("f", "filter", [table], table.columns, where=self.condition(table))

    def union(self, table):
        return self.node("u", "union", [table, self.same(table)], table.columns)

    def set_operation(self, table):
        return self.node("s", self.rng.choice(["intersect", "except"]), [table, self.same(table)], table.columns)

    def keys(self, table):
        """All columns as sort keys, so that no two rows are of one place but equal ones."""
        rng = self.rng
        names = rng.sample(sorted(table.columns), len(table.columns))
        return [f"{name}{rng.choice(['', ' desc'])}{rng.choice(['', ' nulls first'])}" for name in names]

    def top(self, table):
        rng, by = self.rng, self.keys(table)
        if rng.random() < 0.5:
            return self.node("k", "top_k", [table], table.columns, by=by, n=rng.randint(0, 50))
        ordered = self.node("o", "sort", [table], table.columns, by=by)
        return self.node("l", "limit", [ordered], table.columns, n=rng.randint(0, 40), offset=rng.randint(0, 5))

    def window(self, table):
        rng, by = self.rng, self.keys(table)
        number = self.pick(table, "int64", "int32", "uint8", "decimal")
        choices = [("row_number()", "int64"), ("rank()", "int64"), ("dense_rank()", "int64"), ("count(*)", "int64"), ("ntile(3)", "int64")]
        if number:
            kind = table.columns[number]
            total = "decimal" if kind == "decimal" else "int64"
            choices += [(f"sum({number})", total), (f"min({number})", kind), (f"max({number})", kind), (f"lag({number})", kind),
                        (f"lead({number}, 2)", kind), (f"first_value({number})", kind), (f"last_value({number})", kind)]
        added, kinds = {}, {}
        for _ in range(rng.randint(1, 2)):
            name = self.fresh("w")
            added[name], kinds[name] = rng.choice(choices)
        fields = {"partition_by": [rng.choice(sorted(table.columns))]} if rng.random() < 0.8 else {}
        if rng.random() < 0.4:
            fields["frame"] = rng.choice(["rows between 2 preceding and current row", "rows between 1 preceding and 1 following",
                                          "rows between unbounded preceding and unbounded following"])
        return self.node("w", "window", [table], {**table.columns, **kinds}, order_by=by, with_=added, **fields)

    def unpivot(self, table):
        numbers = table.of("int64")
        if len(numbers) < 2:
            return self.map(table)
        kept = {name: kind for name, kind in table.columns.items() if name not in numbers}
        columns = {**kept, "name": "string", "value": "int64"}
        return self.filter(table) if "name" in kept or "value" in kept else self.node("p", "unpivot", [table], columns, columns=numbers)

    def split(self, table):
        text = self.pick(table, "string")
        if not text:
            return self.distinct(table)
        return self.node("x", "flat_map", [table], table.columns, fn="split", column=text, by="|")

    def job(self):
        for _ in range(self.rng.randint(1, 3)):
            self.source()
        last = self.tables[-1]
        for _ in range(self.rng.randint(1, 8)):
            last = self.step()
        ordered = self.rng.random() < 0.3
        if ordered:
            last = self.node("o", "sort", [last], last.columns, by=self.keys(last))
        # Only what the last node needs.
        needed, sources = {last.name}, {}
        for start, end in self.edges:
            sources.setdefault(end, []).append(start)
        waiting = [last.name]
        while waiting:
            for start in sources.get(waiting.pop(), []):
                if start not in needed:
                    needed.add(start)
                    waiting.append(start)
        nodes = [{key.rstrip("_"): item for key, item in node.items()} for node in self.nodes if node["id"] in needed]
        edges = [edge for edge in self.edges if edge[1] in needed]
        return {"name": "fuzz", "dag": {"nodes": nodes, "edges": edges}}, last


def minispark(command, **options):
    return subprocess.run([options.pop("binary"), *command], capture_output=True, text=True, timeout=120)


def with_sink(job, last, partitions, target):
    """The job with its result as Parquet, and with so many partitions of each source."""
    job = json.loads(json.dumps(job))
    for node in job["dag"]["nodes"]:
        if node["op"].startswith("read_") and partitions:
            node["partitions"] = partitions
    if target:
        job["dag"]["nodes"].append({"id": "out", "op": "write_parquet", "path": target})
        job["dag"]["edges"].append([last, "out"])
    return job


def comparable(item):
    if isinstance(item, decimal.Decimal):
        return float(item)
    if isinstance(item, bool):
        return int(item)
    return item


def key(row):
    out = []
    for item in row:
        item = comparable(item)
        if isinstance(item, float):
            item = (1, 0.0) if math.isnan(item) else (0, float(f"{item:.6g}") + 0.0)
        out.append((item is None, "" if item is None else repr(item) if isinstance(item, tuple) else str(item)))
    return out


def same(left, right):
    left, right = comparable(left), comparable(right)
    if isinstance(left, float) or isinstance(right, float):
        if left is None or right is None:
            return left is right
        left, right = float(left), float(right)
        return (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return left == right


def difference(ours, theirs, ordered):
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, and DuckDB has {len(theirs)}"
    pairs = zip(ours, theirs) if ordered else zip(sorted(ours, key=key), sorted(theirs, key=key))
    for left, right in pairs:
        if not all(map(same, left, right)):
            return f"{left}, and DuckDB has {right}"
    return None


def one(seed, options):
    """Why a job differs; None where it doesn't, and whether it was compared with rows at all."""
    rng = random.Random(seed)
    folder = os.path.join(options.keep or tempfile.gettempdir(), f"fuzz-{os.getpid()}-{seed}")
    os.makedirs(folder)
    try:
        job, last = Maker(rng, folder).job()
        path = os.path.join(folder, "job.json")
        runs = [(None, None, 2), (rng.choice([1, 4, 16]), "4MiB", 1), (rng.choice([2, 7]), None, 2)]
        outcomes, texts = [], []
        for number, (partitions, memory, threads) in enumerate(runs):
            target = os.path.join(folder, f"out{number}")
            for name, sink in (("out", target), ("text", None)):
                with open(path, "w") as file:
                    json.dump(with_sink(job, last.name, partitions, sink), file, indent=1)
                out = os.path.join(folder, f"{name}dir{number}")
                command = ["run", path, "--output-dir", out, "--show", "0", "--threads", str(threads)]
                done = minispark(command + (["--memory", memory] if memory else []), binary=options.binary)
                if done.returncode not in (0, 3, 7):
                    return f"exit {done.returncode}: {done.stderr.strip()[-600:]}", False
                if name == "out":
                    outcomes.append((done.returncode, done.stderr.strip()))
                elif done.returncode == 0:
                    (result,) = [name for name in os.listdir(out) if name.endswith(".txt")]
                    with open(os.path.join(out, result), "rb") as file:
                        texts.append(file.read())
        codes = {code for code, _ in outcomes}
        if len(codes) > 1:
            return f"some configurations fail: {outcomes}", False
        if len(set(texts)) > 1:
            return "text results differ between configurations", False
        with open(path, "w") as file:
            json.dump(with_sink(job, last.name, None, None), file, indent=1)
        explained = minispark(["explain", path, "--format", "sql"], binary=options.binary)
        if codes == {3}:
            return f"refused: {outcomes[0][1]}", False
        if explained.returncode != 0:
            return f"no SQL: {explained.stderr.strip()}", False
        connection = duckdb.connect()
        connection.execute("set threads = 2")
        connection.execute("set TimeZone = 'UTC'")
        try:
            theirs = connection.sql(explained.stdout)
            names, theirs = theirs.columns, theirs.fetchall()
        except duckdb.Error as error:
            if codes == {7} and isinstance(error, (duckdb.OutOfRangeException, duckdb.ConversionException, duckdb.InvalidInputException)):
                return None, False
            return f"DuckDB refuses: {error}\n{explained.stdout}", False
        if codes == {7}:
            return (None if KNOWN.search(outcomes[0][1]) else f"failed: {outcomes[0][1]}"), False
        for number in range(len(runs)):
            ours = connection.sql(f"from read_parquet('{folder}/out{number}/*.parquet')")
            if ours.columns != names:
                return f"columns {ours.columns}, and DuckDB has {names}", True
            found = difference(ours.fetchall(), theirs, ordered=last.name.startswith(("o", "k", "l")) and number == 0)
            if found:
                return f"run {runs[number]}: {found}\n{explained.stdout}", True
        return None, True
    except subprocess.TimeoutExpired as error:
        return f"no end: {error}", False
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=BINARY)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--keep", help="a folder that keeps each job's files")
    options = parser.parse_args()
    failures = compared = 0
    for seed in range(options.seed, options.seed + options.jobs):
        found, has_rows = one(seed, options)
        compared += has_rows
        if found:
            failures += 1
            print(f"seed {seed}: {found}", flush=True)
    print(f"{options.jobs} jobs from seed {options.seed}: {compared} compared row by row with DuckDB "
          f"{duckdb.__version__}, {failures} differ")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
