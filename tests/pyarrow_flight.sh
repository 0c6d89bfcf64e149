#!/usr/bin/env bash
# A stock pyarrow client describes, lists and reads a result of a real master.
# Says so and ends well where there is no Python that can have pyarrow.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "skipped: $*"; exit 0; }

binary=${MINISPARK:-target/release/minispark}
[ -x "$binary" ] || cargo build --release
command -v python3 >/dev/null || skip "there is no python3"

folder=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait || true
  rm -rf "$folder"
}
trap finish EXIT

venv=${PYARROW_VENV:-target/pyarrow-venv}
if ! "$venv/bin/python" -c 'import pyarrow.flight' 2>/dev/null; then
  python3 -m venv "$venv" >"$folder/venv.log" 2>&1 || skip "python3 makes no virtual environment"
  "$venv/bin/pip" -q install pyarrow >"$folder/pip.log" 2>&1 || skip "pip can't install pyarrow"
fi

# The value of a field of the first log line that has it.
logged() {
  local file=$1 field=$2 value
  for _ in $(seq 200); do
    value=$(sed -n "s/.*\"$field\":\"\([^\"]*\)\".*/\1/p" "$file" | head -n 1)
    if [ -n "$value" ]; then echo "$value"; return; fi
    read -rt 0.05 <> <(:) || true
  done
  echo "no $field in $file" >&2
  cat "$file" >&2
  return 1
}

"$binary" master --bind 127.0.0.1:0 --flight-port 0 --state-dir "$folder/state" \
  --output-dir "$folder/output" 2>"$folder/master.log" &
pids+=($!)
rest=$(logged "$folder/master.log" rest)
flight=$(logged "$folder/master.log" flight)
export MASTER_URL="http://${rest#http://}"
"$binary" worker --port 0 --work-dir "$folder/work" 2>"$folder/worker.log" &
pids+=($!)

job=$("$binary" submit jobs/wordcount.json --wait | sed -n 's/^  "id": "\(.*\)",$/\1/p')
"$venv/bin/python" tests/flight_client.py "$flight" "$job" agg data/expected/books.txt
