#!/usr/bin/env python3
"""Writes DuckDB's answers into queries.txt, behind each query.

A query begins after a line `#` with its name and ends at a line `--`; what follows up to the next
name is its answer, a row a line as a text sink writes it. Rows of a query without `order by` at its
end are sorted, since they have no order.
"""

import os
import re

import duckdb

HERE = os.path.dirname(os.path.abspath(__file__))
TABLES = {
    "customers": "{'id': 'BIGINT', 'name': 'VARCHAR', 'city': 'VARCHAR', 'credit': 'DOUBLE'}",
    "orders": "{'id': 'BIGINT', 'customer': 'BIGINT', 'total': 'BIGINT', 'day': 'DATE', 'status': 'VARCHAR'}",
    "items": "{'order_id': 'BIGINT', 'product': 'VARCHAR', 'qty': 'BIGINT', 'price': 'DOUBLE'}",
    "nothing": "{'id': 'BIGINT', 'note': 'VARCHAR'}",
}


def shown(value):
    """A value as a text sink writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        return text[:-2] if text.endswith(".0") else text
    return str(value)


def has_order(query):
    """Whether the query itself has an order, and not just a part of it in parentheses."""
    while True:
        outside = re.sub(r"\([^()]*\)", " ", query)
        if outside == query:
            return re.search(r"\border\s+by\b", query, re.I) is not None
        query = outside


def main():
    connection = duckdb.connect()
    for table, columns in TABLES.items():
        path = os.path.join(HERE, f"{table}.csv")
        connection.execute(f"create table {table} as from read_csv('{path}', header = true, columns = {columns})")
    path = os.path.join(HERE, "queries.txt")
    with open(path) as file:
        cases = re.findall(r"^# (.*)\n((?:.*\n)*?)--\n", file.read(), re.M)
    with open(path, "w") as file:
        for name, query in cases:
            try:
                rows = connection.execute(query).fetchall()
            except duckdb.Error as error:
                raise SystemExit(f"{name}: {error}")
            lines = [", ".join(shown(value) for value in row) for row in rows]
            if not has_order(query):
                lines.sort()
            file.write(f"# {name}\n{query}--\n" + "".join(f"{line}\n" for line in lines) + "\n")


if __name__ == "__main__":
    main()
