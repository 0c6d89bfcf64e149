#!/usr/bin/env bash
# Removes what builds, runs and tests leave: target/, bin/, logs, pid files, state, work folders and
# results. Stops the local cluster first. Committed files and benchmark_report.md stay.
#
#   scripts/clean.sh [--keep-build]
#
# OUTPUT_DIR names the folder of results, where that is not the default. Only one that lies directly
# in the temporary directory or here, and is named mini-spark* or tmp_shared, is ever removed.
set -euo pipefail
cd "$(dirname "$0")/.."

keep_build=
case "${1:-}" in
  "") ;;
  --keep-build) keep_build=yes ;;
  *) echo "usage: scripts/clean.sh [--keep-build]" >&2; exit 2 ;;
esac

refuse() { echo "nothing was removed: $*" >&2; exit 1; }

# Whether a process holds the lock of a state or work folder.
in_use() { [ -f "$1/LOCK" ] && command -v flock >/dev/null && ! flock -n "$1/LOCK" true; }

here=$(pwd -P)
temporary=$(cd "${TMPDIR:-/tmp}" && pwd -P)
output=${OUTPUT_DIR:-$temporary/mini-spark}

# All that could be refused is looked at before anything is removed.
folders=()
if [ -e "$output" ] || [ -L "$output" ]; then
  [ -d "$output" ] && [ ! -L "$output" ] || refuse "$output is no folder"
  real=$(cd "$output" && pwd -P)
  case "${real%/*}" in
    "$temporary" | "$here") ;;
    *) refuse "$output is neither in $temporary nor in $here" ;;
  esac
  case "${real##*/}" in
    mini-spark* | tmp_shared) ;;
    *) refuse "$output is not named mini-spark* or tmp_shared" ;;
  esac
  # Another user's folder of this name holds that user's results.
  if [ -O "$real" ]; then folders+=("$real"); fi
fi
own="$temporary/mini-spark-$(id -u)"
if [ -d "$own" ] && [ ! -L "$own" ] && [ -O "$own" ]; then folders+=("$own"); fi

scripts/stop.sh
for folder in mini-spark-state mini-spark-dev/*; do
  if in_use "$folder"; then refuse "a master or worker in another terminal uses $folder"; fi
done
for folder in "$temporary"/mini-spark-worker-*; do
  if [ -d "$folder" ] && [ ! -L "$folder" ] && [ -O "$folder" ] && ! in_use "$folder"; then
    folders+=("$folder")
  fi
done

for folder in "${folders[@]}"; do
  echo "removing $folder"
  rm -rf -- "$folder"
done
rm -rf -- logs mini-spark-dev mini-spark-state benches/data benches/compare/data
rm -f -- master.log worker1.log worker2.log
rm -rf -- tests/__pycache__ benches/compare/__pycache__
if [ -z "$keep_build" ]; then
  rm -rf -- bin target engine/target benches/compare/venv
fi
echo "clean"
