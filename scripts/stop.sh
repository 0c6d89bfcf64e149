#!/usr/bin/env bash
# Stops what `minispark dev up` started in this folder, and nothing else; fine where nothing runs.
set -euo pipefail
cd "$(dirname "$0")/.."

for binary in ${MINISPARK:+"$MINISPARK"} bin/minispark target/release/minispark; do
  if [ -x "$binary" ]; then exec "$binary" dev down; fi
done
# Without the program only the pid files are left to go by: the live ones must not be forgotten.
for file in logs/*.pid; do
  if [ -f "$file" ] && [ -d "/proc/$(cat "$file")" ]; then
    echo "process $(cat "$file") of $file may still run, and the program that can tell is gone:" \
      "build it, then stop again" >&2
    exit 1
  fi
done
echo "nothing runs"
