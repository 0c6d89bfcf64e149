"""Random jobs over random data: what `fuzz.py` runs.

A job is made of one random number generator alone. What minispark and DuckDB answer differently on
purpose (`docs/differences.md`) is left out here, each with a comment that says why, or is told apart
by `fuzz.py`.
"""

import datetime
import decimal
import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq

# Those that expressions compute, and those that only pass through, as keys and values.
COMPUTED = ["int64", "int32", "uint8", "float64", "decimal", "string", "bool", "date", "timestamp"]
PASSED = ["uint64", "int16", "float32", "time", "binary", "timestamp_tz"]
ARROW = {
    "int64": pa.int64(), "int32": pa.int32(), "uint8": pa.uint8(), "float64": pa.float64(),
    "decimal": pa.decimal128(10, 2), "string": pa.string(), "bool": pa.bool_(), "date": pa.date32(),
    "timestamp": pa.timestamp("us"), "uint64": pa.uint64(), "int16": pa.int16(), "float32": pa.float32(),
    "time": pa.time64("us"), "binary": pa.binary(), "timestamp_tz": pa.timestamp("us", "UTC"),
}
NUMBERS = ("int64", "int32", "uint8", "float64", "decimal")
WHOLE = ("int64", "int32", "uint8")
# No letters whose case is more than one letter or depends on its place (ß, İ, Σ), and none made of
# several characters: minispark has Unicode's full mapping and counts characters.
WORDS = ["", "a", "b", "ab", "B", "A b", " c ", "été", "日本", "x" * 40, "10", "-3", "a,b", 'q"q', "a|b|c", "z" * 13,
         "a|b|", "🦆", "0.5", "true", "1995-01-02", "exactly12byt", "exactly13byte", "a%b_c", "it's", "x\ty", "l\nm", "NA"]
ASCII = ["a", "b", "ab", "kitten", "sitting", ""]
LONG = "long" * 17_000


def name_of(kind):
    """The type's name in documents; decimals are as wide as what maps give."""
    return {"decimal": "decimal(18,2)"}.get(kind, kind)


def value(rng, kind, extreme):
    """A value; sometimes an extreme one where the column has such, sometimes null."""
    if rng.random() < 0.12:
        return None
    extreme = extreme and rng.random() < 0.05
    if kind == "int64":
        return rng.choice([2**62, -(2**62), 2**63 - 1, -(2**63), 2**31]) if extreme else rng.randint(-9, 9)
    if kind == "int32":
        return rng.choice([2**31 - 1, -(2**31)]) if extreme else rng.randint(-5, 20)
    if kind == "int16":
        return rng.choice([2**15 - 1, -(2**15)]) if extreme else rng.randint(-3, 3)
    if kind == "uint8":
        return 255 if extreme else rng.randint(0, 6)
    if kind == "uint64":
        return 2**64 - 1 if extreme else rng.randint(0, 9)
    if kind in ("float64", "float32"):
        # Sums of these are exact whatever the order; 1e300 swallows what DuckDB adds to it.
        special = [float("nan"), float("inf"), float("-inf"), 1e300 if kind == "float64" else 3e38]
        return rng.choice(special) if extreme else rng.choice([0.0, -0.0, float("nan")]) if rng.random() < 0.05 else rng.randint(-40, 40) / 8
    if kind == "decimal":
        cents = rng.choice([99_999_999_99, -99_999_999_99]) if extreme else rng.randint(-500, 500)
        return decimal.Decimal(cents).scaleb(-2)
    if kind == "string":
        return LONG if extreme else rng.choice(WORDS)
    if kind == "binary":
        return rng.choice([b"", b"a", b"\x00\xff", b"b" * 20])
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "date":
        day = rng.randint(-30000, 30000) if extreme else rng.randint(8000, 8020)
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
    if kind == "time":
        return (datetime.datetime(2000, 1, 1) + datetime.timedelta(minutes=rng.randint(0, 50))).time()
    micros = rng.randint(-10**15, 10**15) if extreme else rng.randint(0, 50) * 3_600_000_000 + 7
    zone = datetime.timezone.utc if kind == "timestamp_tz" else None
    return datetime.datetime(1995, 1, 1, tzinfo=zone) + datetime.timedelta(microseconds=micros)


class Table:
    """A node of the job: its id, its columns, the most rows it can have, and their order: none, `by
    keys`, or one that SQL can't say, such as that of files (True)."""

    def __init__(self, name, columns, rows, ordered=True):
        self.name, self.columns, self.rows, self.ordered = name, columns, rows, ordered

    def of(self, *kinds):
        return [name for name, kind in self.columns.items() if kind in kinds]


class Maker:
    """Makes one job."""

    def __init__(self, rng, folder):
        self.rng, self.folder = rng, folder
        self.nodes, self.edges, self.tables = [], [], []
        self.count = 0

    def pick(self, table, *kinds):
        names = table.of(*kinds)
        return self.rng.choice(names) if names else None

    def any(self, table):
        return self.rng.choice(sorted(table.columns))

    def fresh(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    # ------------------------------------------------------------ expressions --
    def expression(self, table, kind, depth=2):
        """The text of an expression of a kind."""
        rng = self.rng
        column = self.pick(table, kind)
        if kind == "bool":
            return self.condition(table, depth)
        if depth <= 0 or rng.random() < 0.3 or kind not in COMPUTED:
            return column if column and rng.random() < 0.8 else self.literal(kind)
        again = lambda wanted: self.expression(table, wanted, depth - 1)
        condition = lambda: self.condition(table, depth - 1)
        choices = [
            lambda: f"case when {condition()} then {again(kind)} else {again(kind)} end",
            lambda: f"case when {condition()} then {again(kind)} when {condition()} then {again(kind)} end",
            lambda: f"coalesce({again(kind)}, {again(kind)})",
            lambda: f"nullif({again(kind)}, {self.literal(kind)})",
            lambda: f"if({condition()}, {again(kind)}, {again(kind)})",
            lambda: f"{rng.choice(['greatest', 'least'])}({again(kind)}, {again(kind)})",
            lambda: f"struct_extract(named_struct('f', {again(kind)}, 'g', 1), 'f')",
        ]
        if kind in ("int64", "float64", "decimal"):
            choices += [
                lambda: f"({again(kind)} + {again(kind)})", lambda: f"({again(kind)} - {again(kind)})",
                lambda: f"abs({again(kind)})", lambda: f"(- {again(kind)})",
                lambda: f"try_{rng.choice(['add', 'subtract', 'multiply'])}({again(kind)}, {again(kind)})",
            ]
            if kind != "decimal":
                choices += [lambda: f"({again(kind)} * {again(kind)})"]
        choices += {"int64": self.whole, "float64": self.float, "decimal": self.decimal, "string": self.text,
                    "date": self.date, "timestamp": self.timestamp}.get(kind, lambda again: [])(again)
        return f"cast({rng.choice(choices)()} as {name_of(kind)})" if kind in ("int32", "uint8") else rng.choice(choices)()

    def whole(self, again):
        rng = self.rng
        return [
            lambda: f"length({again('string')})", lambda: f"({again('int64')} % {rng.choice([7, -3, 2])})",
            lambda: f"({again('int64')} div {rng.choice([7, -3, 2])})",
            lambda: f"extract({rng.choice(['year', 'month', 'day', 'dow', 'doy', 'week', 'quarter', 'isodow'])} from {again('date')})",
            lambda: f"extract({rng.choice(['hour', 'minute', 'second', 'year', 'microsecond'])} from {again('timestamp')})",
            lambda: f"({again('int32')} + {again('uint8')})", lambda: f"({again('int32')} * {again('uint8')})",
            lambda: f"({again('date')} - date '1992-01-01')",
            lambda: f"try_cast({again('string')} as int64)", lambda: f"cast({again('bool')} as int64)",
            lambda: f"cast({again('decimal')} as int64)", lambda: f"try_cast({again('float64')} as int64)",
            lambda: f"strpos({again('string')}, '{rng.choice(['a', 'b', '|', ''])}')",
            lambda: f"octet_length({again('string')})", lambda: f"ascii({again('string')})",
            lambda: f"{rng.choice(['bitand', 'bitor', 'xor'])}({again('int64')}, {again('int64')})",
            lambda: f"bitnot({again('int64')})", lambda: f"shiftright({again('int64')}, {rng.randint(0, 5)})",
            # A negative number is shifted to the left here.
            lambda: f"shiftleft(abs({again('int64')} % 100), {rng.randint(0, 5)})",
            lambda: f"bit_count({again('int64')})", lambda: f"sign({again('float64')})", lambda: f"sign({again('int64')})",
            lambda: f"date_diff('{rng.choice(['day', 'month', 'year', 'hour'])}', {again('timestamp')}, {again('timestamp')})",
            lambda: f"date_sub('{rng.choice(['day', 'month', 'year'])}', {again('date')}, {again('date')})",
            lambda: f"len(string_split({again('string')}, '{rng.choice('|,a')}'))",
            lambda: f"levenshtein('{rng.choice(ASCII)}', '{rng.choice(ASCII)}')",
            lambda: f"gcd({again('int64')} % 100, {again('uint8')})",
            lambda: f"round({again('int64')} % 1000, {rng.randint(-2, 1)})",
            lambda: f"len(regexp_extract_all({again('string')}, '[a-z]'))",
            lambda: f"list_position(string_split({again('string')}, '|'), 'b')",
        ]

    def float(self, again):
        rng = self.rng
        return [
            lambda: f"({again('int64')} / 4)", lambda: f"cast({again('int32')} as float64)",
            lambda: f"cast({again('decimal')} as float64)", lambda: f"try_cast({again('string')} as float64)",
            lambda: f"{rng.choice(['round', 'floor', 'ceil', 'trunc', 'degrees', 'atan', 'tanh', 'cbrt'])}({again('float64')})",
            lambda: f"round({again('float64')}, {rng.randint(-1, 2)})",
            lambda: f"try_divide({again('float64')}, {again('int64')})", lambda: f"({again('decimal')} / 8)",
            lambda: f"sqrt(abs({again('int64')} % 100))", lambda: f"exp({again('uint8')})", lambda: f"ln({again('uint8')} + 1)",
            lambda: f"pow({again('uint8')}, 2)", lambda: f"atan2({again('int32')}, {again('uint8')})",
            lambda: f"date_part('epoch', {again('timestamp')})",
            lambda: f"({again('float64')} % 4e0)",
        ]

    def decimal(self, again):
        rng = self.rng
        return [
            lambda: f"cast({again('decimal')} * {rng.choice(['2', '0.5', '1.25'])} as decimal(18,2))",
            lambda: f"cast({again('int32')} as decimal(18,2))", lambda: f"cast({again('decimal')} % 3 as decimal(18,2))",
            lambda: f"cast({rng.choice(['round', 'floor', 'ceil', 'trunc'])}({again('decimal')}) as decimal(18,2))",
            lambda: f"cast(round({again('decimal')}, {rng.randint(0, 2)}) as decimal(18,2))",
            lambda: f"try_cast({again('string')} as decimal(18,2))",
            lambda: f"cast({again('int32')} / 8 as decimal(18,2))",
        ]

    def text(self, again):
        rng = self.rng
        number = lambda least, most: rng.choice([str(rng.randint(least, most)), f"({again('uint8')} + {least})"])
        return [
            lambda: f"lower({again('string')})", lambda: f"upper({again('string')})",
            lambda: f"({again('string')} || {again('string')})", lambda: f"{rng.choice(['trim', 'ltrim', 'rtrim'])}({again('string')})",
            lambda: f"trim({again('string')}, 'ab')",
            # A negative count goes to the left there.
            lambda: f"substr({again('string')}, {number(-2, 3)}, {rng.randint(0, 4)})",
            lambda: f"substr({again('string')}, {number(-2, 3)})",
            lambda: f"replace({again('string')}, '{rng.choice(['a', 'b', '|'])}', 'xy')",
            lambda: f"left({again('string')}, {number(-2, 3)})", lambda: f"right({again('string')}, {number(-2, 3)})",
            lambda: f"cast({again(rng.choice(['int64', 'decimal', 'bool', 'date', 'timestamp', 'float64', 'int32']))} as string)",
            lambda: f"split_part({again('string')}, '|', {rng.choice([1, 2, 3, -1, -2])})", lambda: f"reverse({again('string')})",
            lambda: f"concat({again('string')}, {again('int64')}, {again('date')})",
            lambda: f"concat_ws('-', {again('string')}, {again('string')}, {again('bool')})",
            lambda: f"{rng.choice(['lpad', 'rpad'])}({again('string')}, {number(0, 6)}, '*é')",
            lambda: f"repeat({again('string')}, {rng.randint(-1, 2)})",
            lambda: f"translate({again('string')}, 'ab|', 'xy')",
            lambda: f"overlay({again('string')} placing 'QQ' from {rng.randint(1, 3)} for {rng.randint(0, 2)})",
            lambda: f"chr({again('uint8')} + 65)", lambda: f"md5({again('string')})", lambda: f"hex({again('string')})",
            lambda: f"hex({again('int64')})", lambda: f"base64({again('string')})", lambda: f"sha256({again('string')})",
            lambda: f"url_encode({again('string')})", lambda: f"url_decode(url_encode({again('string')}))",
            lambda: f"regexp_replace({again('string')}, '[a-c]+', '<\\0>', 'g')", lambda: f"regexp_extract({again('string')}, '([a-z])(.)', {rng.randint(0, 2)})",
            lambda: f"strftime({again('timestamp')}, '%Y/%m/%d %H-%M')", lambda: f"monthname({again('date')})", lambda: f"dayname({again('date')})",
            lambda: f"array_to_string(list_sort(string_split({again('string')}, '|')), '+')",
            lambda: f"list_extract(string_split({again('string')}, '|'), {rng.choice([1, 2, -1, 0])})",
            lambda: f"array_to_string(list_reverse(string_split({again('string')}, '')), '')",
            lambda: f"struct_extract(named_struct('f', {again('string')}, 'g', 1), 'f')",
            lambda: f"json_extract_string(to_json({again('string')}), '$')",
        ]

    def date(self, again):
        rng = self.rng
        return [
            lambda: f"cast({again('timestamp')} as date)",
            lambda: f"cast(date_trunc('{rng.choice(['month', 'week', 'quarter'])}', {again('date')}) as date)",
            lambda: f"cast({again('date')} + interval '{rng.randint(1, 40)} {rng.choice(['days', 'months'])}' as date)",
            lambda: f"({again('date')} {rng.choice('+-')} {again('uint8')})", lambda: f"last_day({again('date')})",
            lambda: f"date_add({again('date')}, {again('int32')})", lambda: f"date_sub({again('date')}, {again('int32')})",
            lambda: f"make_date(2020, {again('uint8')} + 1, 28)", lambda: f"try_cast({again('string')} as date)",
        ]

    def timestamp(self, again):
        rng = self.rng
        return [
            lambda: f"date_trunc('{rng.choice(['hour', 'day', 'year', 'minute'])}', {again('timestamp')})",
            lambda: f"({again('timestamp')} {rng.choice('+-')} interval '{rng.randint(1, 9)} {rng.choice(['hours', 'months', 'days', 'seconds'])}')",
            lambda: f"cast({again('date')} as timestamp)", lambda: f"({again('timestamp')} + to_days({again('uint8')}))",
            lambda: f"({again('date')} + interval '1' day)",
            lambda: f"strptime('{rng.choice(['03/04/1996 05:06', '31/12/1999 23:59'])}', '%d/%m/%Y %H:%M')",
        ]

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
            "uint64": lambda: f"cast({rng.randint(0, 9)} as uint64)", "int16": lambda: f"cast({rng.randint(-3, 3)} as int16)",
            "float32": lambda: f"cast({rng.randint(-40, 40) / 8!r} as float32)", "time": lambda: "cast('00:05:00' as time)",
            "binary": lambda: "encode('a')", "timestamp_tz": lambda: "cast('1995-01-01 05:00:00Z' as timestamp_tz)",
        }[kind]()

    def condition(self, table, depth=2):
        rng = self.rng
        kind = rng.choice(list(table.columns.values())) if rng.random() < 0.5 else rng.choice(COMPUTED)
        if kind not in ARROW:
            kind = "int64"
        if depth <= 0:
            return self.pick(table, "bool") or "true"
        left = self.expression(table, kind, depth - 1)
        right = self.expression(table, kind, depth - 1)
        string = lambda: self.expression(table, "string", depth - 1)
        choices = [
            lambda: f"({left} {rng.choice(['=', '<>', '<', '<=', '>', '>='])} {right})",
            lambda: f"({left} is {rng.choice(['', 'not '])}null)",
            lambda: f"({left} is {rng.choice(['', 'not '])}distinct from {right})",
            lambda: f"({left} between {right} and {self.literal(kind)})",
            lambda: f"({left} {rng.choice(['', 'not '])}in ({self.literal(kind)}, {self.literal(kind)}{rng.choice(['', ', null'])}))",
            lambda: f"({self.condition(table, depth - 1)} {rng.choice(['and', 'or'])} {self.condition(table, depth - 1)})",
            lambda: f"(not {self.condition(table, depth - 1)})",
            lambda: f"({self.condition(table, depth - 1)} is {rng.choice(['', 'not '])}{rng.choice(['true', 'false'])})",
            lambda: f"({string()} {rng.choice(['like', 'not like', 'ilike'])} "
                    f"'{rng.choice(['a%', '%b', '%a%', '_', 'a_%', '%', 'ab', '%é%', '%|%|%', '__'])}')",
            lambda: f"({string()} like '%!%%' escape '!')",
            lambda: f"{rng.choice(['starts_with', 'ends_with', 'contains'])}({string()}, '{rng.choice(['a', 'b', 'é', ''])}')",
            lambda: f"regexp_matches({string()}, '{rng.choice(['^a', 'b$', '[0-9]', '^$', 'a.b'])}')",
            lambda: f"list_contains(string_split({string()}, '|'), 'b')",
            lambda: f"isnan({self.expression(table, 'float64', depth - 1)})",
        ]
        return rng.choice(choices)()

    # ------------------------------------------------------------------ nodes --
    def node(self, stem, op, inputs, kinds, rows=None, **fields):
        name = self.fresh(stem)
        orders = {table.ordered for table in inputs}
        if op in ("top_k", "sort", "limit", "window"):
            ordered = "by keys"
        elif op in ("reduce_by_key", "aggregate", "join", "distinct", "intersect", "except", "pivot"):
            ordered = False
        else:
            # Keys that a map leaves out still order the rows, but have no name.
            ordered = op == "sql" or True in orders or "by keys" in orders and (op in ("map", "flat_map", "unpivot") or "by keys")
        self.nodes.append({"id": name, "op": op, **fields})
        self.edges += [[table.name, name] for table in inputs]
        rows = inputs[0].rows if rows is None else rows
        table = Table(name, dict(kinds), rows, ordered)
        self.tables.append(table)
        return table

    def source(self):
        rng = self.rng
        form = rng.choice(["parquet", "parquet", "parquet", "csv", "csv", "jsonl", "jsonl", "text", "folders"])
        kinds = COMPUTED + PASSED[:3] if form != "parquet" else COMPUTED * 2 + PASSED
        chosen = rng.sample(kinds, rng.randint(2, 6))
        if form == "text":
            return self.lines()
        columns = {f"{kind[0]}{number}": kind for number, kind in enumerate(chosen)}
        rows = rng.choice([0, 1, 7, 60, 60, 400, 3000])
        extreme = {name: rng.random() < 0.15 for name in columns}
        data = {name: [value(rng, kind, extreme[name] and (rows < 500 or kind != "string")) for _ in range(rows)]
                for name, kind in columns.items()}
        name = self.fresh("t")
        path = os.path.join(self.folder, f"{name}.{form}")
        write = {"parquet": self.parquet, "csv": self.csv, "jsonl": self.jsonl, "folders": self.folders}[form]
        fields = write(path, columns, data, rows)
        if form in ("csv", "jsonl") and rng.random() < 0.2:
            with open(path, "rb") as plain, gzip.open(path + ".gz", "wb") as packed:
                packed.write(plain.read())
            path += ".gz"
        op = {"folders": "read_parquet"}.get(form, f"read_{form}")
        self.nodes.append({"id": name, "op": op, "path": path, **fields})
        table = Table(name, columns, rows)
        self.tables.append(table)
        return table

    def parquet(self, path, columns, data, rows):
        table = pa.table({n: pa.array(v, ARROW[columns[n]]) for n, v in data.items()})
        pq.write_table(table, path, row_group_size=max(rows // self.rng.choice([1, 3, 8]), 1))
        return {}

    def folders(self, path, columns, data, rows):
        """Parquet files in folders that are named by a column's values."""
        parts = {}
        for row in range(rows):
            parts.setdefault(self.rng.randint(1, 3), []).append(row)
        columns["folder"] = "int64"
        for number, chosen in (parts or {1: []}).items():
            part = self.rng.choice([f"folder={number}", "folder=__HIVE_DEFAULT_PARTITION__"]) if number == 3 and len(parts) > 1 else f"folder={number}"
            os.makedirs(os.path.join(path, part))
            table = pa.table({n: pa.array([v[row] for row in chosen], ARROW[columns[n]]) for n, v in data.items()})
            pq.write_table(table, os.path.join(path, part, "part.parquet"))
        return {}

    def lines(self):
        """A text file; its last line may lack an end."""
        rng, name = self.rng, self.fresh("t")
        rows = rng.choice([0, 1, 60, 400])
        path = os.path.join(self.folder, f"{name}.txt")
        words = [word for word in WORDS if "\n" not in word]
        lines = [" ".join(rng.choice(words) for _ in range(rng.randint(0, 3))) for _ in range(rows)]
        with open(path, "w", newline="", encoding="utf-8") as file:
            file.write(rng.choice(["\n", "\r\n"]).join(lines) + rng.choice(["\n", ""]) * (rows > 0))
        self.nodes.append({"id": name, "op": "read_text", "path": path})
        table = Table(name, {"line": "string"}, rows)
        self.tables.append(table)
        return table

    def csv(self, path, columns, data, rows):
        rng = self.rng
        delimiter, quote = rng.choice(",;|\t"), rng.choice("\"\"'")
        day = rng.choice([None, "%d/%m/%Y"])
        null = rng.choice([None, ["NA"]])

        def text(item, kind):
            if item is None:
                return "NA" if null and rng.random() < 0.3 else ""
            if isinstance(item, bool):
                return "true" if item else "false"
            if isinstance(item, datetime.datetime):
                return item.isoformat(" ")
            if isinstance(item, datetime.date):
                return item.strftime(day) if day and item.year > 999 else item.isoformat()
            shown = str(item)
            must = kind == "string" and (not shown or shown == "NA" or any(c in shown for c in (delimiter, quote, "\n", "\r")))
            return quote + shown.replace(quote, quote * 2) + quote if must or rng.random() < 0.1 else shown

        with open(path, "w", newline="", encoding="utf-8") as file:
            file.write(delimiter.join(columns) + "\n")
            for row in range(rows):
                file.write(delimiter.join(text(data[name][row], kind) for name, kind in columns.items()) + "\n")
        fields = {"header": True, "delimiter": delimiter, "columns": {n: "decimal(10,2)" if k == "decimal" else k for n, k in columns.items()}}
        fields |= {"quote": quote} if quote != '"' else {}
        fields |= {"null": null} if null else {}
        return fields | ({"date_format": day} if day and "date" in columns.values() else {})

    def jsonl(self, path, columns, data, rows):
        rng = self.rng

        def text(item):
            if isinstance(item, (bool, str)):
                return json.dumps(item, ensure_ascii=rng.random() < 0.5)
            if isinstance(item, float) and (item != item or item in (float("inf"), float("-inf"))):
                return "null"
            if isinstance(item, (datetime.date, datetime.datetime)):
                return json.dumps(item.isoformat(" ") if isinstance(item, datetime.datetime) else item.isoformat())
            return "null" if item is None else str(item)

        with open(path, "w", encoding="utf-8") as file:
            for row in range(rows):
                members = [(name, data[name][row]) for name in columns]
                rng.shuffle(members)
                # One key at least: an object without any is told apart nowhere from a blank line.
                kept = members[:1] + [m for m in members[1:] if m[1] is not None or rng.random() < 0.5]
                file.write("{" + ", ".join(f'"{name}": {text(item)}' for name, item in kept) + "}\n")
        return {"columns": {n: "decimal(10,2)" if k == "decimal" else k for n, k in columns.items()}}

    def step(self):
        """One node more over what is there."""
        rng = self.rng
        table = rng.choice(self.tables[-3:])
        moves = [self.map, self.map, self.map, self.filter, self.filter, self.reduce, self.reduce, self.reduce, self.join, self.join,
                 self.distinct, self.union, self.set_operation, self.top, self.window, self.window, self.unpivot, self.aggregate,
                 self.split, self.explode, self.pivot, self.sql, self.sql, self.through]
        return rng.choice(moves)(table)

    def map(self, table):
        rng = self.rng
        added = {}
        for _ in range(rng.randint(1, 3)):
            added[self.fresh("c")] = rng.choice(["int64", "float64", "decimal", "string", "bool", "date", "timestamp", "int32"])
        texts = {name: self.typed(table, kind) for name, kind in added.items()}
        if rng.random() < 0.5:
            return self.node("m", "map", [table], {**table.columns, **added}, with_=texts)
        kept = rng.sample(sorted(table.columns), rng.randint(1, len(table.columns)))
        select = {**{name: f'"{name}"' for name in kept}, **texts}
        return self.node("m", "map", [table], {**{n: table.columns[n] for n in kept}, **added}, select=select)

    def typed(self, table, kind):
        """An expression that is of exactly this kind, whatever its parts have widened to."""
        return f"cast({self.expression(table, kind)} as {name_of(kind)})"

    def filter(self, table):
        return self.node("f", "filter", [table], table.columns, where=self.condition(table, 3))

    def through(self, table):
        """A node that changes nothing."""
        rng = self.rng
        if rng.random() < 0.5:
            return self.node("h", "cache", [table], table.columns)
        return self.node("h", "repartition", [table], table.columns, partitions=rng.randint(1, 5), key=[self.any(table)])

    def aggregates(self, table):
        rng, chosen, kinds = self.rng, {}, {}
        for _ in range(rng.randint(1, 3)):
            name = self.fresh("a")
            number, column, other = self.pick(table, *NUMBERS), self.any(table), self.any(table)
            kind = table.columns[column]
            condition = lambda: self.condition(table, 1)
            ranked = f"{other}{rng.choice(['', ' desc'])}{rng.choice(['', ' nulls first'])}"
            if table.ordered is True:
                # Rows that are equal in the key follow the files' order, which SQL can't say.
                ranked = ", ".join(self.keys(table))
            choices = [("count(*)", "int64"), (f"count({column})", "int64"), (f"count(distinct {column})", "int64"),
                       (f"count(distinct {column}) filter (where {condition()})", "int64"),
                       (f"min({column})", kind), (f"max({column})", kind), (f"count(*) filter (where {condition()})", "int64"),
                       (f"any_value({column})", kind), (f"mode({column})", kind), (f"quantile_disc({column}, {rng.choice([0.25, 0.5, 0.9])})", kind),
                       (f"{rng.choice(['first', 'last'])}({column} order by {ranked})", kind),
                       (f"{rng.choice(['min_by', 'max_by'])}({column}, {column if table.ordered is True else other})", kind), (f"count({column}, {other})", "int64")]
            if kind == "bool":
                choices = [choice for choice in choices if "quantile" not in choice[0]]
            if number:
                of = table.columns[number]
                total = "float64" if of == "float64" else "sum of decimals" if of == "decimal" else "sum of bytes" if of == "uint8" else "int64"
                second = self.pick(table, *NUMBERS)
                choices += [(f"sum({number})", total), (f"avg({number})", "float64")] * 2
                choices += [(f"sum({number}) filter (where {condition()})", total), (f"sum(distinct {number})", total),
                            (f"median(cast({number} as float64))", "float64"), (f"quantile_cont({number}, 0.3)", "float64"),
                            (f"median({number})", "float64")]
                if of != "float64":
                    # Infinities and NaN make what is built on squares depend on the order of rows there.
                    choices += [(f"{rng.choice(['stddev_samp', 'stddev_pop', 'var_samp', 'var_pop'])}({number})", "float64")]
                    if table.columns[second] != "float64":
                        choices += [(f"{rng.choice(['covar_samp', 'covar_pop'])}({number}, {second})", "float64")]
                if of in WHOLE:
                    choices += [(f"{rng.choice(['bit_and', 'bit_or', 'bit_xor'])}({number})", of)]
            flag, word = self.pick(table, "bool"), self.pick(table, "string")
            if flag:
                choices += [(f"bool_and({flag})", "bool"), (f"bool_or({flag})", "bool"), (f"every({flag}) filter (where {condition()})", "bool")]
            if word and table.rows <= 400:
                choices += [(f"string_agg({word}, '-' order by {ranked})", "string"), (f"string_agg(distinct {word}, '+' order by {word})", "string")]
                if table.ordered is not True:
                    choices += [(f"string_agg({word})", "string")]
            if table.rows <= 400 and rng.random() < 0.3:
                choices += [(f"array_agg({column} order by {ranked})", "list"), (f"array_agg(distinct {column} order by {column} desc)", "list")] * 3
            chosen[name], kinds[name] = rng.choice(choices)
        return chosen, kinds

    def grouped(self, table, aggs, kinds, keys):
        """Aggregates behind which sums of decimals and lists are of kinds that expressions know."""
        rows = table.rows if keys else 1
        op, fields = ("reduce_by_key", {"key": list(keys)}) if keys else ("aggregate", {})
        given = self.node("r", op, [table], {**keys, **kinds}, rows=rows, aggs=aggs, **fields)
        odd = {"sum of decimals": "decimal", "sum of bytes": "int64", "list": "int64"}
        if not set(kinds.values()) & set(odd) or self.rng.random() < 0.2:
            given.columns = {name: kind for name, kind in given.columns.items() if kind not in odd}
            if given.columns:
                return given
            given.columns = {**keys, **kinds}
        texts = {}
        for name, kind in given.columns.items():
            texts[name] = {"sum of decimals": f"cast({name} as decimal(18,2))", "sum of bytes": f"cast({name} as int64)",
                           "list": f"len({name})"}.get(kind, f'"{name}"')
        exact = self.node("m", "map", [given], {name: odd.get(kind, kind) for name, kind in given.columns.items()}, select=texts)
        self.tables.remove(given)
        return exact

    def reduce(self, table):
        rng = self.rng
        names = rng.sample(sorted(table.columns), min(rng.randint(1, 2), len(table.columns)))
        keys = {name: table.columns[name] for name in names}
        aggs, kinds = self.aggregates(table)
        if rng.random() < 0.3:
            # A key that is computed.
            name, kind = self.fresh("k"), rng.choice(["int64", "string", "date", "bool"])
            table = self.node("m", "map", [table], {**table.columns, name: kind}, with_={name: self.typed(table, kind)})
            keys[name] = kind
        return self.grouped(table, aggs, kinds, keys)

    def aggregate(self, table):
        return self.grouped(table, *self.aggregates(table), {})

    def pivot(self, table):
        rng = self.rng
        column, number = self.pick(table, "string"), self.pick(table, "int64", "int32", "decimal", "float64")
        if not column or not number:
            return self.reduce(table)
        key = self.any(table)
        values = rng.sample(["a", "b", "ab", "zz"], rng.randint(1, 3))
        if key == column or key in values:
            return self.reduce(table)
        fn = rng.choice(["sum", "count", "min", "max", "avg"])
        kind = table.columns[number]
        kinds = {"count": "int64", "avg": "float64", "sum": {"decimal": "sum of decimals", "int32": "int64"}.get(kind, kind)}
        kind = kinds.get(fn, kind)
        given = self.node("v", "pivot", [table], {key: table.columns[key], **{v: kind for v in values}},
                          key=[key], column=column, value=number, fn=fn, columns=values)
        if kind == "sum of decimals":
            given.columns = {key: table.columns[key]}
        return given

    def renamed(self, table):
        """The table with names of its own, so that a join has no two columns of one name."""
        names = {self.fresh("j"): name for name in table.columns}
        columns = {new: table.columns[old] for new, old in names.items()}
        return self.node("m", "map", [table], columns, select={new: f'"{old}"' for new, old in names.items()})

    def few(self, table, most):
        """At most so many of its rows."""
        if table.rows <= most:
            return table
        return self.node("k", "top_k", [table], table.columns, rows=most, by=self.keys(table), n=most)

    def join(self, left):
        rng = self.rng
        right = self.renamed(rng.choice(self.tables))
        how = rng.choice(["inner", "left", "right", "full", "semi", "anti", "cross"])
        pairs = [(a, b) for a in left.columns for b in right.columns if left.columns[a] == right.columns[b]]
        if not pairs and how != "cross":
            return self.filter(left)
        fields = {"how": how}
        if how == "cross":
            left, right = self.few(left, 60), self.few(right, 40)
        else:
            # Many partners a row would make tables that nobody wants to wait for.
            right = self.few(right, max(100_000 // max(left.rows, 1), 10))
            chosen = rng.sample(pairs, min(len(pairs), rng.randint(1, 2)))
            keys = [list(side) for side in zip(*chosen)]
            if rng.random() < 0.2:
                keys = [[f"coalesce({name}, {literal})" for name in side]
                        for literal in [self.literal(left.columns[chosen[0][0]])] for side in [keys[0][:1], keys[1][:1]]]
            fields |= {"left_key": keys[0], "right_key": keys[1]}
            if rng.random() < 0.2:
                fields["null_safe"] = True
        if rng.random() < 0.4 and pairs:
            a, b = rng.choice(pairs)
            fields["on"] = f"l.{a} {rng.choice(['<>', '<', '>=', 'is distinct from'])} r.{b}"
        columns = left.columns if how in ("semi", "anti") else {**left.columns, **right.columns}
        rows = left.rows if how in ("semi", "anti") else left.rows * max(right.rows, 1) + right.rows
        given = self.node("j", "join", [left, right], columns, rows=rows, **fields)
        return self.few(given, 3000) if rows > 20_000 else given

    def distinct(self, table):
        if self.rng.random() < 0.4:
            return self.node("d", "distinct", [table], table.columns, key=[self.any(table)])
        return self.node("d", "distinct", [table], table.columns)

    def same(self, table):
        """Another table with the same columns."""
        return self.node("f", "filter", [table], table.columns, where=self.condition(table))

    def union(self, table):
        return self.node("u", "union", [table, self.same(table)], table.columns, rows=2 * table.rows)

    def set_operation(self, table):
        return self.node("s", self.rng.choice(["intersect", "except"]), [table, self.same(table)], table.columns)

    def keys(self, table):
        """All columns as sort keys, so that no two rows are of one place but equal ones."""
        rng = self.rng
        names = rng.sample(sorted(table.columns), len(table.columns))
        return [f'"{name}"{rng.choice(["", " desc"])}{rng.choice(["", " nulls first"])}' for name in names]

    def top(self, table):
        rng, by = self.rng, self.keys(table)
        kind = rng.choice(["int64", "string"])
        if rng.random() < 0.3:
            by = [f"{self.expression(table, kind, 1)} desc", *by]
            by = by if by[0].removesuffix(" desc") not in table.columns and by[0][0] not in "-0123456789'" else by[1:]
        if rng.random() < 0.5:
            n = rng.randint(0, 50)
            return self.node("k", "top_k", [table], table.columns, rows=n, by=by, n=n)
        ordered = self.node("o", "sort", [table], table.columns, by=by)
        n = rng.randint(0, 40)
        return self.node("l", "limit", [ordered], table.columns, rows=n, n=n, offset=rng.randint(0, 5))

    def window(self, table):
        rng, by = self.rng, self.keys(table)
        # Fewer keys leave ties, which the order of all columns tells apart.
        by = by[: rng.randint(0, len(by))] if table.ordered is not True else by
        frame = None
        if rng.random() < 0.5:
            frame = rng.choice(["rows between 2 preceding and current row", "rows between 1 preceding and 1 following",
                                "rows between unbounded preceding and unbounded following", "rows between 1 following and 3 following",
                                "groups between 1 preceding and current row", "groups between current row and 2 following",
                                "range between unbounded preceding and current row", "range between 2 preceding and 1 following"])
        ranged = self.pick(table, "int64", "int32", "decimal")
        if frame and frame.startswith("range between 2"):
            if not ranged:
                frame = None
            else:
                by = [f"{ranged}{rng.choice(['', ' desc'])}"]
        if frame and frame.startswith("groups") and not by:
            frame = None
        number, column = self.pick(table, "int64", "int32", "decimal"), self.any(table)
        kind = table.columns[column]
        seen = [("count(*)", "int64"), (f"count({column})", "int64"), (f"first_value({column})", kind), (f"last_value({column})", kind),
                (f"nth_value({column}, 2)", kind), (f"min({column})", kind), (f"max({column})", kind)]
        choices = [("row_number()", "int64"), ("rank()", "int64"), ("dense_rank()", "int64"), ("ntile(3)", "int64"),
                   ("percent_rank()", "float64"), ("cume_dist()", "float64"), (f"lag({column})", kind), (f"lead({column}, 2)", kind),
                   (f"lag({column}, 1, {column})", kind), (f"lag({column} ignore nulls)", kind)] + seen
        if number:
            of = table.columns[number]
            seen += [(f"avg({number})", "float64")]
            if of != "decimal":
                seen += [(f"sum({number})", "int64"), (f"sum({number}) filter (where {self.condition(table, 1)})", "int64")]
            choices += seen[-3:]
        if table.ordered is True and len(by) < len(table.columns):
            # Rows that are equal in the keys follow the files' order, which SQL can't say.
            follows = ("first_value", "last_value", "nth_value", "row_number", "ntile", "lag", "lead")
            seen, choices = ([choice for choice in some if not choice[0].startswith(follows)] for some in (seen, choices))
        added, kinds = {}, {}
        for at in range(rng.randint(1, 2)):
            name = self.fresh("w")
            added[name], kinds[name] = rng.choice(seen if frame and at == 0 else choices)
        fields = {"partition_by": [self.any(table)]} if rng.random() < 0.8 else {}
        fields |= {"order_by": by} if by else {}
        fields |= {"frame": frame} if frame else {}
        return self.node("w", "window", [table], {**table.columns, **kinds}, with_=added, **fields)

    def unpivot(self, table):
        numbers = table.of("int64")
        if len(numbers) < 2:
            return self.map(table)
        kept = {name: kind for name, kind in table.columns.items() if name not in numbers}
        columns = {**kept, "name": "string", "value": "int64"}
        if "name" in kept or "value" in kept:
            return self.filter(table)
        # It needs to know all columns, and what a sum of decimals is called is known to no one here.
        exact = self.node("m", "map", [table], table.columns, select={name: f'"{name}"' for name in table.columns})
        return self.node("p", "unpivot", [exact], columns, rows=table.rows * len(numbers), **{"columns": numbers})

    def split(self, table):
        text = self.pick(table, "string")
        if not text:
            return self.distinct(table)
        outer = {"outer": True} if self.rng.random() < 0.3 else {}
        return self.node("x", "flat_map", [table], table.columns, rows=4 * table.rows, fn="split", column=text, by="|", **outer)

    def explode(self, table):
        text = self.pick(table, "string")
        if not text:
            return self.union(table)
        name = self.fresh("l")
        listed = self.node("m", "map", [table], {**table.columns, name: "string"},
                           with_={name: f"string_split({text}, '{self.rng.choice(',|a')}')"})
        self.tables.remove(listed)
        outer = {"outer": True} if self.rng.random() < 0.3 else {}
        return self.node("x", "flat_map", [listed], listed.columns, rows=4 * table.rows, fn="explode", column=name, **outer)

    def sql(self, table):
        rng = self.rng
        other = rng.choice(self.tables)
        t, column = table.name, self.any(table)
        kind = table.columns[column]
        number = self.pick(table, "int64", "int32")
        partner = self.pick(other, kind)
        where = self.condition(table, 2)
        choices = [
            ([table], f"select {column} as y1, count(*) as y2 from {t} where {where} group by {column} having count(*) > {rng.randint(0, 2)}",
             {"y1": kind, "y2": "int64"}, table.rows),
            ([table], f"select distinct {column} from {t} where {where}", {column: kind}, table.rows),
            ([table], f"with c as (select {column}, {self.typed(table, 'int64')} as y2 from {t}) select c.y2, {column} as y1 from c where c.y2 > 0",
             {"y2": "int64", "y1": kind}, table.rows),
            ([table], f"select {column} as y1 from {t} union all select {column} from {t} where {where}", {"y1": kind}, 2 * table.rows),
            ([table], f"select {column} as y1 from {t} {rng.choice(['union', 'intersect', 'except'])} select {column} from {t} where {where}", {"y1": kind}, 2 * table.rows),
        ]
        if number:
            choices += [
                ([table], f"select {column} as y1, sum({number} + 1) as y2, avg({number}) as y3 from {t} group by {column}",
                 {"y1": kind, "y2": "int64", "y3": "float64"}, table.rows),
                ([table], f"select {column} as y1, {number} as y2 from {t} where {number} >= (select avg({number}) from {t})",
                 {"y1": kind, "y2": table.columns[number]}, table.rows),
                ([table], f"select {column} as y1, row_number() over (partition by {column} order by {', '.join(self.keys(table))}) as y2 from {t}",
                 {"y1": kind, "y2": "int64"}, table.rows),
            ]
        if partner and other is not table:
            o = other.name
            choices += [
                ([table, other], f"select {column} as y1 from {t} where {column} {rng.choice(['', 'not '])}in (select {partner} from {o})", {"y1": kind}, table.rows),
                ([table, other], f"select a.{column} as y1 from {t} a where {rng.choice(['', 'not '])}exists (select 1 from {o} b where b.{partner} = a.{column})",
                 {"y1": kind}, table.rows),
                ([table, other], f"select a.{column} as y1, b.{partner} as y2 from (select distinct {column} from {t}) a "
                                 f"{rng.choice(['join', 'left join', 'full join'])} (select distinct {partner} from {o}) b on a.{column} = b.{partner}",
                 {"y1": kind, "y2": kind}, table.rows + other.rows),
            ] * 2
        inputs, query, columns, rows = rng.choice(choices)
        return self.node("q", "sql", inputs, columns, rows=rows, query=query)

    def computed(self, table):
        """Many expressions over a source, all of which its result shows."""
        added = {self.fresh("c"): self.rng.choice(COMPUTED) for _ in range(16)}
        texts = {name: self.typed(table, kind) for name, kind in added.items()}
        return self.node("m", "map", [table], {**table.columns, **added}, with_=texts)

    def job(self):
        for _ in range(self.rng.randint(1, 3)):
            self.source()
        last = self.tables[-1]
        if self.rng.random() < 0.2:
            last = self.computed(last)
        else:
            for _ in range(self.rng.randint(1, 8)):
                last = self.step()
        self.sorted = self.rng.random() < 0.3
        if self.sorted:
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
