"""Reads a finished result with pyarrow, as any Flight client would, and checks what it gets.

    python tests/flight_client.py HOST:PORT JOB_ID SINK EXPECTED

EXPECTED is what the result should hold, in order, by its ending:
  .txt    as the default text sink writes it: the columns joined by ", ", one row a line
  .csv    a first line of column names, then rows; values are compared as text
  .json   a list of objects
Needs Python 3.9 and pyarrow; prints one line and exits with 0 where all is as it should be.
"""

import csv
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight


def text(value):
    """A value as the text formats write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def check_rows(table, expected):
    """The rows are those of the file, in its order."""
    if expected.suffix == ".json":
        found, wanted = table.to_pylist(), json.loads(expected.read_text("utf-8"))
    else:
        found = [[text(value) for value in row.values()] for row in table.to_pylist()]
        if expected.suffix == ".csv":
            with expected.open(encoding="utf-8", newline="") as file:
                names, *wanted = csv.reader(file)
            assert table.column_names == names, f"columns {table.column_names}, not {names}"
        else:
            found = [", ".join(row).replace("\r", r"\r").replace("\n", r"\n") for row in found]
            wanted = expected.read_bytes().decode("utf-8").split("\n")
            assert wanted.pop() == "", "the last line has no end"
    assert len(found) == len(wanted), f"{len(found)} rows instead of {len(wanted)}"
    for number, (row, want) in enumerate(zip(found, wanted)):
        assert row == want, f"row {number} is {row!r} instead of {want!r}"


def check_result(client, job, sink, expected):
    """Describes and streams the result the way people write it; gives its rows."""
    info = client.get_flight_info(flight.FlightDescriptor.for_path(job, sink))
    assert len(info.endpoints) == 1, f"{len(info.endpoints)} endpoints"
    assert not info.endpoints[0].locations, "the endpoint should be this connection"

    table = client.do_get(info.endpoints[0].ticket).read_all()
    table.validate(full=True)
    assert table.schema.equals(info.schema), f"{table.schema} is not {info.schema}"
    assert table.num_rows == info.total_records, f"{info.total_records} rows were announced"
    assert info.total_bytes > 0 or table.num_rows == 0, f"{info.total_bytes} bytes"
    assert not any(field.type == pa.string_view() for field in table.schema), "text is plain"
    check_rows(table, expected)

    # The same ticket may be used again, and a reader may take one batch at a time.
    reader = client.do_get(info.endpoints[0].ticket)
    assert sum(chunk.data.num_rows for chunk in reader) == table.num_rows
    schema = client.get_schema(flight.FlightDescriptor.for_path(job, sink)).schema
    assert schema.equals(table.schema), f"{schema} is not {table.schema}"
    return table


def check_selection(client, job, sink, table):
    """A command may name columns and a limit."""
    name = table.column_names[-1]
    command = json.dumps({"job_id": job, "sink": sink, "columns": [name], "limit": 2})
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    part = client.do_get(info.endpoints[0].ticket).read_all()
    assert part.equals(table.select([name]).slice(0, 2)), f"{part} was selected"


def check_list(client, job, sink):
    """The result is among the finished ones."""
    paths = [info.descriptor.path for info in client.list_flights()]
    assert [job.encode(), sink.encode()] in paths, f"not among {paths}"


def check_refusals(client, job, sink):
    """What can't be had is an error that says so."""

    def refused(kind, call):
        try:
            call()
        except kind:
            return
        raise AssertionError(f"no {kind.__name__}")

    path = flight.FlightDescriptor.for_path
    refused(KeyError, lambda: client.get_flight_info(path("no-such-job", sink)))
    refused(KeyError, lambda: client.get_flight_info(path(job, "no-such-sink")))
    refused(ValueError, lambda: client.get_flight_info(path(job)))
    ticket = client.get_flight_info(path(job, sink)).endpoints[0].ticket.ticket
    for bad in (b"", b"forged", ticket[:-1], ticket[:-1] + bytes([ticket[-1] ^ 1])):
        refused(
            flight.FlightUnauthenticatedError,
            lambda bad=bad: client.do_get(flight.Ticket(bad)).read_all(),
        )


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    address, job, sink, expected = sys.argv[1:]
    with flight.connect(f"grpc://{address}") as client:
        table = check_result(client, job, sink, Path(expected))
        check_selection(client, job, sink, table)
        check_list(client, job, sink)
        check_refusals(client, job, sink)
        assert [name for name, _ in client.list_actions()] == ["health", "version"]
        (health,) = client.do_action("health")
        assert json.loads(health.body.to_pybytes()) == {"status": "ok"}
    print(f"ok: {table.num_rows} rows, {table.num_columns} columns")


if __name__ == "__main__":
    main()
