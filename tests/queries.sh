#!/usr/bin/env bash
# TPC-H and the db-benchmark's questions, each equal to DuckDB's answer, embedded and on a master with
# two workers; then random jobs, each equal to the SQL that they explain themselves as.
#   tests/queries.sh [SCALE [H2O_ROWS [JOBS]]]      by default 0.01, 1e5 and 60: a few minutes
# Says so and ends well where there is no Python that can have DuckDB.
set -euo pipefail
cd "$(dirname "$0")/.."

scale=${1:-0.01} rows=${2:-1e5} jobs=${3:-60} seed=${SEED:-1}
. tests/support/cluster.bash
binary=$(realpath "$binary")
command -v python3 >/dev/null || skip "there is no python3"

packages=(duckdb==2.0.1 pyarrow==26.0.1 numpy tpchgen-cli==4.0.0)
venv=${QUERIES_VENV:-target/queries-venv}
if ! "$venv/bin/python" -c 'import duckdb, pyarrow, numpy' 2>/dev/null; then
  python3 -m venv "$venv" >"$folder/venv.log" 2>&1 || skip "python3 makes no virtual environment"
  "$venv/bin/pip" -q install "${packages[@]}" >"$folder/pip.log" 2>&1 || skip "pip can't install DuckDB"
fi

data=${QUERIES_DATA:-$folder/data}
tpch=$data/tpch-$scale h2o=$data/h2o
[ -d "$tpch" ] || "$venv/bin/tpchgen-cli" parquet -s "$scale" -q --output-dir="$tpch"
size=$("$venv/bin/python" -c "import sys; sys.path.insert(0, 'benches/compare')
from h2o_data import size_name; print(size_name($rows))")
[ -e "$h2o/G1_$size.parquet" ] || "$venv/bin/python" benches/compare/h2o_data.py "$h2o" "$rows"

echo "embedded"
"$venv/bin/python" tests/queries.py --binary "$binary" --tpch "$tpch" --h2o "$h2o" --size "$size"

echo "on a master and two workers"
roots=(--read-root "$(realpath "$data")" --read-root "$folder")
"$binary" master --bind 127.0.0.1:0 --flight-port 0 --state-dir "$folder/state" \
  --output-dir "$folder/output" "${roots[@]}" --write-root "$folder" 2>"$folder/master.log" &
pids+=($!)
rest=$(logged "$folder/master.log" rest)
for worker in 1 2; do
  "$binary" --server "http://${rest#http://}" worker --port 0 --slots 1 --work-dir "$folder/work-$worker" \
    "${roots[@]}" 2>"$folder/worker-$worker.log" &
  pids+=($!)
done
TMPDIR=$folder "$venv/bin/python" tests/queries.py --binary "$binary" --tpch "$tpch" --h2o "$h2o" --size "$size" \
  --cluster "http://${rest#http://}"

echo "random jobs"
TMPDIR=$folder "$venv/bin/python" tests/fuzz.py --binary "$binary" --seed "$seed" --jobs "$jobs"
