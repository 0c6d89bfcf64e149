#!/usr/bin/env python3
"""Makes the tables of the db-benchmark (h2o) from a fixed seed: h2o_data.py FOLDER ROWS

G1_<size>.parquet is the group-by table; J1_<size>_{x,small,medium,big}.parquet are those of the joins,
whose keys are for 90 % common and for 10 % on one side only, as db-benchmark's generators have it.
"""

import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SEED = 20261123
GROUPS = 100


def size_name(rows):
    """1e7 for 10,000,000."""
    return f"{rows:.0e}".replace("e+0", "e").replace("e+", "e")


def write(folder, name, table):
    path = os.path.join(folder, f"{name}.parquet")
    pq.write_table(pa.table(table), path, compression="snappy", row_group_size=1 << 20)


def groupby(folder, rows):
    rng = np.random.default_rng([SEED, 5])
    many = max(rows // GROUPS, 1)

    def names(digits, count):
        return pa.array([f"id{number:0{digits}d}" for number in range(1, count + 1)])

    def numbers(most):
        return rng.integers(1, most + 1, rows, dtype=np.int32)

    few_names, many_names = names(3, GROUPS), names(10, many)

    def named(dictionary, most):
        return dictionary.take(pa.array(rng.integers(0, most, rows)))

    write(folder, f"G1_{size_name(rows)}", {
        "id1": named(few_names, GROUPS), "id2": named(few_names, GROUPS), "id3": named(many_names, many),
        "id4": numbers(GROUPS), "id5": numbers(GROUPS), "id6": numbers(many),
        "v1": numbers(5), "v2": numbers(15), "v3": np.round(rng.random(rows) * 100, 6),
    })


def joins(folder, rows):
    rng = np.random.default_rng([SEED, 6])

    def keys(count):
        """Of both sides: nine tenths are common, a tenth is each side's own."""
        all_keys = rng.permutation(np.arange(1, int(count * 1.1) + 1))
        common, left, right = np.split(all_keys, [int(count * 0.9), count])
        return np.concatenate([common, left]), np.concatenate([common, right[: count - len(common)]])

    def spread(some_keys, count):
        """`count` keys in which each of `some_keys` stands at least once where there is room."""
        some_keys = some_keys[:count]
        return rng.permutation(np.concatenate([some_keys, rng.choice(some_keys, count - len(some_keys))]))

    def text(some_keys):
        return pc.binary_join_element_wise("id", pa.array(some_keys).cast(pa.string()), "")

    def value(count):
        return np.round(rng.random(count) * 100, 6)

    def narrow(some_keys):
        return pa.array(some_keys.astype(np.int32))

    few, medium = max(rows // 1_000_000, 10), max(rows // 1_000, 10)
    (left1, right1), (left2, right2), (left3, right3) = keys(few), keys(medium), keys(rows)
    name = f"J1_{size_name(rows)}"
    a, b, c = spread(left1, rows), spread(left2, rows), spread(left3, rows)
    write(folder, f"{name}_x", {
        "id1": narrow(a), "id2": narrow(b), "id3": narrow(c), "id4": text(a), "id5": text(b), "id6": text(c),
        "v1": value(rows),
    })
    a = spread(right1, few)
    write(folder, f"{name}_small", {"id1": narrow(a), "id4": text(a), "v2": value(few)})
    a, b = spread(right1, medium), spread(right2, medium)
    write(folder, f"{name}_medium", {
        "id1": narrow(a), "id2": narrow(b), "id4": text(a), "id5": text(b), "v2": value(medium),
    })
    a, b, c = spread(right1, rows), spread(right2, rows), spread(right3, rows)
    write(folder, f"{name}_big", {
        "id1": narrow(a), "id2": narrow(b), "id3": narrow(c), "id4": text(a), "id5": text(b), "id6": text(c),
        "v2": value(rows),
    })


if __name__ == "__main__":
    target, count = sys.argv[1], int(float(sys.argv[2]))
    os.makedirs(target, exist_ok=True)
    groupby(target, count)
    joins(target, count)
