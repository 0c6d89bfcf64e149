"""Reads files that other projects publish with their tests, and compares.

Parquet, Arrow and JSON Lines: the file is converted to Parquet, and pyarrow reads both to the same
rows and types, after the types that minispark normalises (dictionaries to their values, maps to lists
of structs, ...). CSV: once with inferred types, which must succeed or be refused clearly; once with
every column a string, without header, which must give the fields of Python's csv module wherever that
reads as many in each row.

A row of another width is refused by default, which must happen, and then read with `"ragged": "pad"`.
A part of the columnar and compressed files is read once more with bytes overwritten or cut off.

Each file ends as `equal`, `refused` with the reason, or `unexpected`; one of the last fails the script.
"""

import argparse
import bz2
import collections
import concurrent.futures
import csv
import datetime
import gzip
import io
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import threading

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq

ENDINGS = re.compile(
    r"\.(csv|tsv|jsonl|ndjson|parquet|arrow|feather|ipc)(\.(gz|bz2|zst|lz4|snappy))?$"
)
# What is left out for time: TPC answers repeat the same shape at five scales.
LEFT_OUT = re.compile(r"/answers/(sf0\.1|sf10|sf100)/")
LARGEST = 2_000_000
SECONDS = 30
MEMORY = 1 << 30
# Of the files that are no plain text, each so-manieth is damaged.
DAMAGED_EVERY = 4
csv.field_size_limit(1 << 24)


class Refused(Exception):
    """minispark said no, in its own words."""


class Unexpected(Exception):
    """Neither equal nor a clear refusal."""


def run(binary, arguments, folder):
    """Runs the program; its error line where it refuses."""
    process = subprocess.Popen(
        [binary, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": folder, "CI": "1"},
    )
    timer = signal_after(process, SECONDS)
    stderr = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    timer.cancel()
    if usage.ru_maxrss * 1024 > MEMORY:
        raise Unexpected(f"took {usage.ru_maxrss >> 10} MiB")
    code = process.returncode
    if code == -signal.SIGKILL:
        raise Unexpected(f"no end within {SECONDS} s")
    if "panick" in stderr.lower() or "PANICKED" in stderr:
        raise Unexpected(f"panic: {stderr.strip()}")
    if code == 0:
        return
    lines = [line for line in stderr.splitlines() if line.startswith("error[")]
    if not 0 < code <= 10 or len(lines) != 1:
        raise Unexpected(f"exit code {code}: {stderr.strip()}")
    if "error[INTERNAL]" in lines[0]:
        raise Unexpected(lines[0])
    raise Refused(lines[0])


def signal_after(process, seconds):
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    return timer


# Types: what minispark makes of pyarrow's.


def normal(type_):
    t = pa.types
    if t.is_dictionary(type_):
        return normal(type_.value_type)
    if t.is_run_end_encoded(type_):
        return normal(type_.value_type)
    if t.is_large_string(type_) or t.is_string_view(type_):
        return pa.string()
    if t.is_large_binary(type_) or t.is_binary_view(type_) or t.is_fixed_size_binary(type_):
        return pa.binary()
    if t.is_float16(type_):
        return pa.float32()
    if t.is_date64(type_):
        return pa.timestamp("ms")
    if t.is_time(type_):
        return pa.time64("us")
    if t.is_map(type_):
        fields = [("key", normal(type_.key_type)), ("value", normal(type_.item_type))]
        return pa.list_(pa.struct(fields))
    if t.is_list(type_) or t.is_large_list(type_) or t.is_fixed_size_list(type_):
        return pa.list_(normal(type_.value_type))
    if t.is_struct(type_):
        return pa.struct([(field.name, normal(field.type)) for field in type_])
    if t.is_decimal32(type_) or t.is_decimal64(type_):
        return pa.decimal128(type_.precision, type_.scale)
    return type_


def value(item, type_):
    """A value that compares: NaN equals NaN, maps are lists of pairs, times are in microseconds."""
    if item is None:
        return None
    t = pa.types
    if t.is_dictionary(type_) or t.is_run_end_encoded(type_):
        return value(item, type_.value_type)
    if t.is_floating(type_):
        return "NaN" if math.isnan(item) else item
    if t.is_map(type_):
        return [
            {"key": value(k, type_.key_type), "value": value(v, type_.item_type)} for k, v in item
        ]
    if t.is_list(type_) or t.is_large_list(type_) or t.is_fixed_size_list(type_):
        return [value(each, type_.value_type) for each in item]
    if t.is_struct(type_):
        return {field.name: value(item[field.name], field.type) for field in type_}
    if t.is_date64(type_):
        return datetime.datetime(item.year, item.month, item.day)
    return item


def plain(column):
    """Times as whole numbers: Python's own have neither nanoseconds nor all years."""
    t = pa.types
    type_ = column.type
    if t.is_timestamp(type_) or t.is_duration(type_):
        return column.cast(pa.int64()), pa.int64()
    if t.is_date32(type_):
        return column.cast(pa.int32()), pa.int32()
    return column, type_


def same(expected, found):
    """Raises where two tables differ, after what minispark normalises."""
    names = lambda table: [(field.name, normal(field.type)) for field in table.schema]
    if names(expected) != names(found):
        raise Unexpected(f"schema {names(found)} for {names(expected)}")
    if expected.num_rows != found.num_rows:
        raise Unexpected(f"{found.num_rows} rows for {expected.num_rows}")
    for field, left, right in zip(expected.schema, expected.columns, found.columns):
        if not (pa.types.is_nested(field.type) or pa.types.is_dictionary(field.type)):
            (left, left_type), (right, right_type) = plain(left), plain(right)
        else:
            left_type, right_type = left.type, right.type
        for row, pair in enumerate(zip(left.to_pylist(), right.to_pylist())):
            a, b = value(pair[0], left_type), value(pair[1], right_type)
            if a != b:
                raise Unexpected(f"column {field.name}, row {row}: {b!r} for {a!r}")


def columnar(binary, path, folder):
    """Parquet and Arrow: what pyarrow reads from the file and from its conversion."""
    kind = ENDINGS.search(path).group(1)
    expected = reason = None
    try:
        if kind == "parquet":
            expected = pq.ParquetFile(path).read()
        else:
            expected = pyarrow.feather.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
    target = os.path.join(folder, "out.parquet")
    format_ = [] if kind == "parquet" else ["--input-format", "arrow"]
    try:
        run(binary, ["convert", path, target, *format_], folder)
    except Refused as refused:
        raise Refused(f"{refused}{'' if reason is None else ' (so does pyarrow)'}") from None
    if expected is None:
        return "read, unlike pyarrow"
    same(expected, pq.ParquetFile(target).read())
    return "equal"


def json_lines(binary, path, folder):
    """JSON Lines: what Python's json reads a line, as far as names and plain values go."""
    target = os.path.join(folder, "out.jsonl")
    run(binary, ["convert", path, target], folder)
    with open(path, encoding="utf-8") as lines:
        expected = [json.loads(line) for line in lines if line.strip()]
    with open(target, encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    if len(expected) != len(found):
        raise Unexpected(f"{len(found)} rows for {len(expected)}")
    for row, (left, right) in enumerate(zip(expected, found)):
        for name, item in left.items():
            if item != right[name] and str(item) != str(right[name]):
                raise Unexpected(f"row {row}, {name}: {right[name]!r} for {item!r}")
    return "equal"


def content(path):
    """The file's bytes, decompressed where Python can."""
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".gz"):
        return gzip.decompress(data)
    if path.endswith(".bz2"):
        return bz2.decompress(data)
    if path.endswith((".zst", ".lz4")):
        codec = "zstd" if path.endswith(".zst") else "lz4"
        return pa.input_stream(path, compression=codec).read()
    return data


def encoding_of(data):
    """The name of the encoding for Python and for minispark."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16", "utf-16"
    try:
        data.decode("utf-8")
        return "utf-8-sig", None
    except UnicodeDecodeError:
        return "latin-1", "latin-1"


def delimiter_of(text):
    """The one that most often gives each row the same number of fields, more than one."""
    best = (0, ",")
    for delimiter in ",\t|;":
        counts = collections.Counter(len(row) for row in rows_of(text[:100_000], delimiter) if row)
        if counts:
            width, times = counts.most_common(1)[0]
            if width > 1 and times / sum(counts.values()) > best[0]:
                best = (times / sum(counts.values()), delimiter)
    return best[1]


def rows_of(text, delimiter):
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        return []


def separated(binary, path, folder):
    """CSV: any types once, then all fields as text against Python's csv module."""
    data = content(path)
    python_name, own_name = encoding_of(data)
    text = data.decode(python_name)
    delimiter = "\t" if ".tsv" in path else delimiter_of(text)
    node = {"id": "read", "op": "read_csv", "path": path, "header": True, "delimiter": delimiter}
    if own_name:
        node["encoding"] = own_name
    job(binary, folder, node, "inferred", may_refuse=True)
    rows = rows_of(text, delimiter)
    widths = {len(row) for row in rows if row}
    width = max(widths, default=1)
    columns = {f"c{index}": "string" for index in range(width)}
    node = {**node, "header": False, "columns": columns}
    how = "equal"
    # Old Macintosh files: Python ends rows at a lone carriage return, minispark has it as text.
    if "\r" in text.replace("\r\n", ""):
        job(binary, folder, node, "strings")
        return "read, unlike pyarrow"
    if len(widths) > 1:
        try:
            job(binary, folder, node, "strict")
        except Refused as refused:
            if "fields, found" not in str(refused):
                raise
        else:
            raise Unexpected(f"rows of {sorted(widths)} fields were read as they are")
        node["ragged"] = "pad"
        how = "equal when padded"
    job(binary, folder, node, "strings")
    found = arrow_rows(os.path.join(folder, "strings"))
    found = [tuple("" if field is None else field for field in row) for row in found]
    # A blank line is no row, except of a single column.
    expected = [tuple(row + [""] * (width - len(row))) for row in rows if row or width == 1]
    if len(expected) != len(found):
        raise Unexpected(f"{len(found)} rows for {len(expected)}")
    for number, (left, right) in enumerate(zip(expected, found)):
        if left != right:
            raise Unexpected(f"row {number}: {right!r} for {left!r}")
    return how


def arrow_rows(folder):
    """The rows of all parts of a written Arrow table."""
    rows = []
    for part in sorted(name for name in os.listdir(folder) if name.startswith("part-")):
        with pa.OSFile(os.path.join(folder, part)) as file:
            table = pa.ipc.open_file(file).read_all()
        rows += zip(*(column.to_pylist() for column in table.columns))
    return rows


def damaged(binary, path, folder, number):
    """The file with some bytes overwritten or its end cut off: read or refused, and no more."""
    chance = random.Random(number)
    with open(path, "rb") as file:
        data = bytearray(file.read())
    if number % 2:
        del data[chance.randrange(len(data)) :]
    else:
        start = chance.randrange(len(data))
        for place in range(start, min(start + chance.choice([1, 4, 16]), len(data))):
            data[place] = chance.choice([0, 0x7F, 0xFF, chance.randrange(256)])
    copy = os.path.join(folder, os.path.basename(path))
    with open(copy, "wb") as file:
        file.write(data)
    extra = ["--input-format", "arrow"] if ".ipc" in path or ".feather" in path else []
    run(binary, ["convert", copy, os.path.join(folder, "damaged.parquet"), *extra], folder)
    return "read though damaged"


def job(binary, folder, node, target, may_refuse=False):
    """Runs a job that reads by the node and writes Arrow."""
    path = os.path.join(folder, target + ".json")
    document = {
        "name": "published",
        "dag": {
            "nodes": [node, {"id": "write", "op": "write_arrow", "path": target}],
            "edges": [["read", "write"]],
        },
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    try:
        run(binary, ["run", path, "--output-dir", os.path.join(folder, "out")], folder)
    except Refused:
        if not may_refuse:
            raise


READERS = {"csv": separated, "tsv": separated, "jsonl": json_lines, "ndjson": json_lines}


def unpack(sources, folder):
    """The data files of the source packages, nothing else, as `<package>/<number>-<name>`."""
    files = []
    for archive in sorted(os.listdir(sources)):
        if not archive.endswith(".tar.gz"):
            continue
        package = archive.removesuffix(".tar.gz")
        os.makedirs(os.path.join(folder, package))
        with tarfile.open(os.path.join(sources, archive)) as tar:
            for number, member in enumerate(tar):
                name = member.name
                wanted = member.isfile() and ENDINGS.search(name) and not LEFT_OUT.search(name)
                if not wanted or member.size > LARGEST:
                    continue
                path = os.path.join(folder, package, f"{number}-{os.path.basename(name)}")
                with open(path, "wb") as file:
                    file.write(tar.extractfile(member).read())
                files.append((package, name.split("/", 1)[1], path))
    return files


def outcome(binary, folder, number, path, is_damaged):
    own = os.path.join(folder, f"{number}-damaged" if is_damaged else str(number))
    os.makedirs(own)
    reader = READERS.get(ENDINGS.search(path).group(1), columnar)
    try:
        if is_damaged:
            return damaged(binary, path, own, number), ""
        return reader(binary, path, own), ""
    except Refused as refused:
        return "refused", str(refused).replace(path, os.path.basename(path))
    except Unexpected as error:
        return "unexpected", str(error)
    except Exception as error:  # What a file does to the comparison must name the file.
        return "unexpected", f"the comparison fails: {error!r}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--sources", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    args.binary, args.folder = os.path.realpath(args.binary), os.path.realpath(args.folder)
    files = [file for file in unpack(args.sources, args.folder) if args.only in file[1]]
    tries = [(number, False) for number in range(len(files))]
    of_bytes = [n for n, file in enumerate(files) if not file[1].endswith((".csv", ".tsv"))]
    tries += [(number, True) for number in of_bytes[::DAMAGED_EVERY]]
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        runs = [
            pool.submit(outcome, args.binary, args.folder, number, files[number][2], is_damaged)
            for number, is_damaged in tries
        ]
        outcomes = [run.result() for run in runs]
    table = collections.defaultdict(collections.Counter)
    for (number, is_damaged), (how, reason) in zip(tries, outcomes):
        package, name, _ = files[number]
        kind = ENDINGS.search(name).group(0)
        table["damaged copies" if is_damaged else package, kind][how] += 1
        if how == "unexpected" or (how == "refused" and not is_damaged):
            print(f"{how}: {package} {name}: {reason}")
    columns = ["equal", "equal when padded", "read, unlike pyarrow", "read though damaged"]
    columns += ["refused", "unexpected"]
    print(f"{'package':20} {'files':10} {'tried':>6}", *(f"{name:>10}" for name in columns))
    total = collections.Counter()
    for (package, kind), counts in sorted(table.items()):
        total.update(counts)
        cells = (f"{counts[name]:>{max(10, len(name))}}" for name in columns)
        print(f"{package:20} {kind:10} {sum(counts.values()):>6}", *cells)
    summary = ", ".join(f"{total[name]} {name}" for name in columns if total[name])
    print(f"{len(files)} files, {len(tries) - len(files)} damaged copies: {summary}")
    if not files or total["unexpected"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
