#!/usr/bin/env bash
# promtool, of Debian's package prometheus, reads the metrics of a real master and finds no fault.
# Says so and ends well where promtool is not to be had.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/support/cluster.bash

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

start_cluster
"$binary" submit jobs/wordcount.json --wait >"$folder/job.json"

curl -fsS "$MASTER_URL/metrics" >"$folder/metrics.txt"
"$promtool" check metrics <"$folder/metrics.txt"
echo "promtool finds no fault in $(grep -c '^# TYPE' "$folder/metrics.txt") families"
