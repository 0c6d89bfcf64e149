#!/usr/bin/env bash
# Jobs read from and write to an S3-compatible server (moto's, on loopback) and read over plain
# HTTP, in one process and on a master with a worker; DuckDB reads the same files and must agree.
# Says so and ends well where there is no Python that can have moto and DuckDB.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/support/cluster.bash
binary=$(realpath "$binary")
command -v python3 >/dev/null || skip "there is no python3"

venv=${OBJECT_STORE_VENV:-target/object-store-venv}
if ! "$venv/bin/python" -c 'import moto.server, boto3, duckdb, pyarrow' 2>/dev/null; then
  python3 -m venv "$venv" >"$folder/venv.log" 2>&1 || skip "python3 makes no virtual environment"
  "$venv/bin/pip" -q install 'moto[server]' boto3 duckdb pyarrow >"$folder/pip.log" 2>&1 ||
    skip "pip can't install moto, DuckDB and pyarrow"
fi

# The first words of this form in a log, as soon as they are there.
logged() {
  local file=$1 pattern=$2 value
  for _ in $(seq 600); do
    value=$(sed -n "s/.*$pattern.*/\1/p" "$file" | head -n 1)
    if [ -n "$value" ]; then echo "$value"; return; fi
    read -rt 0.05 <> <(:) || true
  done
  echo "no $pattern in $file" >&2
  cat "$file" >&2
  return 1
}

export AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=verysecretkey AWS_REGION=us-east-1
"$venv/bin/python" -u tests/object_store.py servers "$folder" >"$folder/servers.log" 2>&1 &
pids+=($!)
s3=$(logged "$folder/servers.log" 's3=\(http[^ ]*\)')
ranged=$(logged "$folder/servers.log" 'ranged=\(http[^ ]*\)')
plain=$(logged "$folder/servers.log" 'plain=\(http[^ ]*\)')
export AWS_ENDPOINT_URL=$s3

stores="lake=s3://lake,allow=read-write,endpoint=$s3,allow_http=true; web=$ranged; old=$plain"
mkdir -p "$folder/root"
"$binary" master --bind 127.0.0.1:0 --flight-port 0 --state-dir "$folder/state" \
  --output-dir "$folder/output" --read-root "$folder/root" --store "$stores" \
  2>"$folder/master.log" &
pids+=($!)
rest=$(logged "$folder/master.log" '"rest":"\([^"]*\)"')
export MASTER_URL="http://${rest#http://}"
"$binary" worker --port 0 --work-dir "$folder/work" --read-root "$folder/root" \
  --store "$stores" 2>"$folder/worker.log" &
pids+=($!)

"$venv/bin/python" tests/object_store.py check "$binary" "$folder" "$ranged" "$plain"
if grep -r verysecretkey "$folder/master.log" "$folder/worker.log" "$folder/state" \
  "$folder/said.log" >/dev/null; then
  echo "a secret is in a log or in the state" >&2
  exit 1
fi
echo "object stores: all agree"
