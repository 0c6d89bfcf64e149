#!/usr/bin/env bash
# A worker is killed in the middle of a task: the job ends COMPLETED, with the same bytes.
#
# On the cluster of `make run-cluster` where that runs and has nothing to do (the worker is started
# again afterwards), else on one of its own on free ports. MINISPARK names a binary that is there.
set -euo pipefail
cd "$(dirname "$0")/.."

job=jobs/fail_test_delay.json
node=map_delay
patience=120

binary=${MINISPARK:-target/release/minispark}
[ -n "${MINISPARK:-}" ] || cargo build --release --quiet

fail() { echo "FAILED: $*" >&2; exit 1; }

folder=$(mktemp -d)
dir=$folder
reference=
killed=
finish() {
  if [ -n "$reference" ]; then kill "$reference" 2>/dev/null || true; wait || true; fi
  if [ "$dir" = "$folder" ]; then
    "$binary" dev down --dir "$dir" >/dev/null || true
  elif [ -n "$killed" ]; then
    "$binary" dev up --dir "$dir" >/dev/null || true
  fi
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The master's address, and the worker's name that has a Flight address.
rest() { "$binary" dev status --dir "$1" --json | sed -n 's/.*"rest": "\([^"]*\)".*/\1/p'; }
worker_at() {
  "$binary" dev status --dir "$dir" --json |
    awk -F'"' -v address="$1" '/"name":/ {name = $4} /"flight":/ && $4 == address {print name}'
}
# The addresses of workers that run something.
busy() {
  "$binary" workers --json |
    awk -F'"' '/"address":/ {address = $4} /"running": [1-9]/ {print address}'
}
# The value of a key at the top of a document.
field() { sed -n "s/^  \"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" | head -n 1; }

if "$binary" dev status --json >/dev/null 2>&1 && MASTER_URL="http://$(rest .)" &&
  export MASTER_URL && [ -z "$(busy)" ]; then
  dir=.
  echo "using the cluster at $MASTER_URL"
else
  "$binary" dev up --dir "$dir" --port 0 --flight-port 0 --worker-port 0 --slots 1 \
    --memory 512MiB --output-dir "$folder/output" >/dev/null
  MASTER_URL="http://$(rest "$dir")"
  export MASTER_URL
  echo "started a cluster at $MASTER_URL"
fi

# The undisturbed run, at the same time: it sleeps for the most part.
"$binary" run "$job" --json -q --memory 64MiB --output-dir "$folder/reference" \
  >"$folder/reference.json" 2>"$folder/reference.err" &
reference=$!

id=$("$binary" submit "$job" --json | field job_id)
[ -n "$id" ] || fail "the job was not accepted"
echo "job $id accepted"

SECONDS=0
while true; do
  document=$("$binary" status "$id" --json)
  address=$(busy | head -n 1)
  if [ -n "$address" ] && grep -q "\"$node\": \"RUNNING\"" <<<"$document"; then break; fi
  case "$(field status <<<"$document")" in
    COMPLETED | FAILED | CANCELLED) fail "the job was over before it could be disturbed" ;;
  esac
  [ "$SECONDS" -lt "$patience" ] || fail "no worker runs $node after $patience s"
  sleep 0.1
done
worker=$(worker_at "$address")
[ -n "$worker" ] || fail "the worker at $address is none of ours"
pid=$(cat "$dir/logs/$worker.pid")
echo "killing $worker (process $pid), which runs $node"
killed=$worker
kill -9 "$pid"

while true; do
  document=$("$binary" status "$id" --json)
  status=$(field status <<<"$document")
  case "$status" in
    COMPLETED) break ;;
    FAILED | CANCELLED) echo "$document" >&2; fail "the job ended as $status" ;;
  esac
  [ "$SECONDS" -lt "$patience" ] || fail "the job is $status after $patience s"
  sleep 0.2
done
failures=$(field failure_count <<<"$document")
echo "job COMPLETED after $SECONDS s, $failures failed attempts"
[ "$failures" -ge 1 ] || fail "the kill was not counted"

wait "$reference" || { cat "$folder/reference.err" >&2; fail "the undisturbed run failed"; }
reference=
# The path of the node's result in a results document.
path() { sed -n "s/^    \"$node\": \"\(.*\)\",\{0,1\}\$/\1/p" "$1" | head -n 1; }
"$binary" results "$id" --json >"$folder/results.json"
cmp "$(path "$folder/results.json")" "$(path "$folder/reference.json")" ||
  fail "the result differs from that of an undisturbed run"
cat "$(path "$folder/results.json")"
echo "OK: $worker was killed, the job is COMPLETED, and its result has the same bytes"
