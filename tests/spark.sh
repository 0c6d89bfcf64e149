#!/usr/bin/env bash
# TPC-H and the db-benchmark's questions, and random jobs, each equal to what Spark gives for the
# statement that `explain --format sql --dialect spark` writes of it.
#   tests/spark.sh [SCALE [H2O_ROWS [JOBS]]]        by default 0.01, 1e5 and 40: some minutes
# Says so and ends well where there is no Java of version 17 or later, or no Python that can have Spark.
set -euo pipefail
cd "$(dirname "$0")/.."

scale=${1:-0.01} rows=${2:-1e5} jobs=${3:-40} seed=${SEED:-1}
skip() { echo "skipped: $*"; exit 0; }

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
command -v "$java" >/dev/null || skip "there is no java"
version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${version:-0}" -ge 17 ] || skip "Spark needs Java 17 or later, and this is ${version:-none}"
command -v python3 >/dev/null || skip "there is no python3"

binary=${MINISPARK:-target/release/minispark}
[ -x "$binary" ] || cargo build --release
binary=$(realpath "$binary")

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

packages=(pyspark==4.3.0 duckdb==2.0.1 pyarrow==26.0.1 numpy tpchgen-cli==4.0.0)
venv=${SPARK_VENV:-target/spark-venv}
if ! "$venv/bin/python" -c 'import pyspark, duckdb, pyarrow, numpy' 2>/dev/null; then
  python3 -m venv "$venv" >"$folder/venv.log" 2>&1 || skip "python3 makes no virtual environment"
  "$venv/bin/pip" -q install "${packages[@]}" >"$folder/pip.log" 2>&1 || skip "pip can't install Spark"
fi

data=${QUERIES_DATA:-$folder/data}
tpch=$data/tpch-$scale h2o=$data/h2o
[ -d "$tpch" ] || "$venv/bin/tpchgen-cli" parquet -s "$scale" -q --output-dir="$tpch"

size=$("$venv/bin/python" -c "import sys; sys.path.insert(0, 'benches/compare')
from h2o_data import size_name; print(size_name(float('$rows')))")
[ -e "$h2o/G1_$size.parquet" ] || "$venv/bin/python" benches/compare/h2o_data.py "$h2o" "$rows"

TMPDIR=$folder "$venv/bin/python" tests/spark.py --binary "$binary" --tpch "$tpch" --h2o "$h2o" --size "$size" \
  --seed "$seed" --jobs "$jobs" 2>"$folder/spark.log" || { tail -n 20 "$folder/spark.log" >&2; exit 1; }
