#!/usr/bin/env bash
# promtool, of Debian's package prometheus, reads the metrics of a real master and finds no fault.
# Says so and ends well where promtool is not to be had.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "skipped: $*"; exit 0; }

binary=${MINISPARK:-target/release/minispark}
[ -x "$binary" ] || cargo build --release

folder=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait || true
  rm -rf "$folder"
}
trap finish EXIT

promtool=${PROMTOOL:-$(command -v promtool || true)}
if [ -z "$promtool" ]; then
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
    || skip "there is neither promtool nor a Debian to take it from"
  # The package is unpacked and not installed: nothing of the machine changes.
  (cd "$folder" && apt-get -q download prometheus) >"$folder/apt.log" 2>&1 \
    || skip "the package prometheus can't be downloaded"
  dpkg-deb -x "$folder"/prometheus_*.deb "$folder/prometheus"
  promtool=$folder/prometheus/usr/bin/promtool
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
export MASTER_URL="http://${rest#http://}"
"$binary" worker --port 0 --work-dir "$folder/work" 2>"$folder/worker.log" &
pids+=($!)
"$binary" submit jobs/wordcount.json --wait >"$folder/job.json"

curl -fsS "$MASTER_URL/metrics" >"$folder/metrics.txt"
"$promtool" check metrics <"$folder/metrics.txt"
echo "promtool finds no fault in $(grep -c '^# TYPE' "$folder/metrics.txt") families"
