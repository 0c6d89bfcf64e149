#!/usr/bin/env bash
# A stock pyarrow client describes, lists and reads a result of a real master.
# Says so and ends well where there is no Python that can have pyarrow.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/support/cluster.bash
command -v python3 >/dev/null || skip "there is no python3"

venv=${PYARROW_VENV:-target/pyarrow-venv}
if ! "$venv/bin/python" -c 'import pyarrow.flight' 2>/dev/null; then
  python3 -m venv "$venv" >"$folder/venv.log" 2>&1 || skip "python3 makes no virtual environment"
  "$venv/bin/pip" -q install pyarrow >"$folder/pip.log" 2>&1 || skip "pip can't install pyarrow"
fi

start_cluster

job=$("$binary" submit jobs/wordcount.json --wait | sed -n 's/^  "id": "\(.*\)",$/\1/p')
"$venv/bin/python" tests/flight_client.py "$flight" "$job" agg data/expected/books.txt
