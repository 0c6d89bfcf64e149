#!/usr/bin/env python3
"""Makes the data sets from fixed seeds, each where a file of it is missing: data.py FOLDER [NAME...]

books   books_1g.csv, books_100m.csv: id, title, text; 300 thousand words, Zipf 1.0, in three spellings
seed    big_text.csv, sales.csv, catalog.csv: shaped as the original's generator made them
tiny    tiny.txt: two kilobytes of words
h2o     the db-benchmark's tables of ten million rows, as Parquet
tpch1, tpch10   TPC-H as Parquet, by tpchgen-cli

The same bytes each time for one version of numpy, pyarrow and tpchgen-cli.
"""

import datetime
import os
import subprocess
import sys
from multiprocessing import Pool

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
SEED = 20261123
VOCABULARY = 300_000
BOOKS_BYTES, SMALL_BOOKS_BYTES = 1_000_000_000, 100_000_000
BOOKS_LINES = 50_000  # of a piece
LETTERS = b"etaoinshrdlucmfwypvbgkjqxz"
FREQUENCIES = [
    12.7, 9.1, 8.2, 7.5, 7, 6.7, 6.3, 6.1, 6, 4.3, 4, 2.8, 2.8, 2.4, 2.2, 2.4, 2, 1.9, 1, 1.5, 2, 0.8, 0.15, 0.1, 0.15, 0.07,
]
SEED_WORDS = (
    b"lorem ipsum dolor sit amet consectetur adipiscing elit data spark go distributed system batch "
    b"processing node network failure recovery"
).split()


def vocabulary() -> list[bytes]:
    """Words, the frequent ones first and short, as in real text."""
    rng = np.random.default_rng(SEED)
    share = np.array(FREQUENCIES) / sum(FREQUENCIES)
    seen, words = set(), []
    while len(words) < VOCABULARY:
        mean = 3.2 + 0.55 * np.log2(1 + len(words) / 40)
        length = int(np.clip(rng.normal(mean, 1.6), 2, 18))
        word = bytes(LETTERS[letter] for letter in rng.choice(26, length, p=share))
        if word not in seen:
            seen.add(word)
            words.append(word)
    return words


class Books:
    """What a process that makes pieces of the books holds."""

    spellings: list[bytes] = []
    cumulated = np.empty(0)

    @classmethod
    def prepare(cls, words: list[bytes]) -> None:
        cls.spellings = [spell(word) for word in words for spell in (bytes.lower, bytes.capitalize, bytes.upper)]
        weights = 1.0 / np.arange(1, VOCABULARY + 1)
        cls.cumulated = np.cumsum(weights / weights.sum())


def books_piece(number: int) -> bytes:
    """Lines `id,title,text`, with 2 to 6 and 5 to 20 words."""
    rng = np.random.default_rng([SEED, 1, number])
    titles, texts = rng.integers(2, 7, BOOKS_LINES), rng.integers(5, 21, BOOKS_LINES)
    count = int(titles.sum() + texts.sum())
    ranks = np.minimum(np.searchsorted(Books.cumulated, rng.random(count)), VOCABULARY - 1)
    spellings = rng.choice(3, count, p=[0.78, 0.18, 0.04])
    tokens = list(map(Books.spellings.__getitem__, (ranks * 3 + spellings).tolist()))
    lines, at, first = [], 0, number * BOOKS_LINES + 1
    for line, (title, text) in enumerate(zip(titles.tolist(), texts.tolist())):
        middle, end = at + title, at + title + text
        lines.append(b"%d,%b,%b\n" % (first + line, b" ".join(tokens[at:middle]), b" ".join(tokens[middle:end])))
        at = end
    return b"".join(lines)


def books(folder: str) -> None:
    with open(os.path.join(folder, "books_1g.csv"), "wb") as file:
        with Pool(2, Books.prepare, (vocabulary(),)) as pool:
            size = 0
            for piece in pool.imap(books_piece, range(10_000)):
                size += file.write(piece)
                if size >= BOOKS_BYTES:
                    pool.terminate()
                    break
    with open(os.path.join(folder, "books_1g.csv"), "rb") as file:
        beginning = file.read(SMALL_BOOKS_BYTES)
    with open(os.path.join(folder, "books_100m.csv"), "wb") as file:
        file.write(beginning[: beginning.rfind(b"\n") + 1])


def text_piece(number: int) -> bytes:
    """100 thousand lines of 5 to 14 of 19 words."""
    rng = np.random.default_rng([SEED, 2, number])
    lengths = rng.integers(5, 15, 100_000)
    tokens = list(map(SEED_WORDS.__getitem__, rng.integers(0, len(SEED_WORDS), int(lengths.sum())).tolist()))
    lines, at = [], 0
    for length in lengths.tolist():
        lines.append(b" ".join(tokens[at : at + length]))
        at += length
    return b"\n".join(lines) + b"\n"


def sales_piece(number: int) -> bytes:
    """100 thousand lines `product,date|$amount`."""
    rng = np.random.default_rng([SEED, 3, number])
    count, last = 100_000, datetime.date(2025, 12, 2)
    days = [(last - datetime.timedelta(days=day)).isoformat() for day in range(365)]
    products, amounts = rng.integers(1, 1001, count), rng.random(count) * 100
    dates = rng.integers(0, 365, count)
    rows = zip(products.tolist(), amounts.tolist(), dates.tolist())
    return "".join(f"{product},{days[day]}|${amount:.2f}\n" for product, amount, day in rows).encode()


def seed(folder: str) -> None:
    with Pool(2) as pool:
        for name, piece, count in (("big_text.csv", text_piece, 30), ("sales.csv", sales_piece, 50)):
            with open(os.path.join(folder, name), "wb") as file:
                file.writelines(pool.imap(piece, range(count)))
    rng = np.random.default_rng([SEED, 4])
    with open(os.path.join(folder, "catalog.csv"), "w") as file:
        for product, letter in enumerate(rng.integers(0, 26, 1000).tolist(), 1):
            file.write(f"{product},Producto_{product}_Categoria_{chr(65 + letter)}\n")


def tiny(folder: str) -> None:
    with open(os.path.join(folder, "tiny.txt"), "wb") as file:
        file.write(text_piece(1000)[:2048].rsplit(b"\n", 1)[0] + b"\n")


def h2o(folder: str) -> None:
    subprocess.run([sys.executable, os.path.join(HERE, "h2o_data.py"), folder, "1e7"], check=True)


def tpch(scale: int):
    def make(folder: str) -> None:
        program = os.path.join(os.path.dirname(sys.executable), "tpchgen-cli")
        target = os.path.join(folder, f"tpch_sf{scale}")
        subprocess.run([program, "parquet", "-s", str(scale), "-q", f"--output-dir={target}"], check=True)

    return make


# A set's last file, which is there when all are, and what makes it.
SETS = {
    "books": ("books_100m.csv", books),
    "seed": ("catalog.csv", seed),
    "tiny": ("tiny.txt", tiny),
    "h2o": ("J1_1e7_big.parquet", h2o),
    "tpch1": ("tpch_sf1/lineitem.parquet", tpch(1)),
    "tpch10": ("tpch_sf10/lineitem.parquet", tpch(10)),
}


def ensure(folder: str, names: list[str]) -> None:
    """Makes the sets that are not there yet."""
    os.makedirs(folder, exist_ok=True)
    for name in names:
        last, make = SETS[name]
        if not os.path.exists(os.path.join(folder, last)):
            print(f"making the data set {name} in {folder}", file=sys.stderr, flush=True)
            make(folder)


if __name__ == "__main__":
    ensure(sys.argv[1], sys.argv[2:] or list(SETS))
