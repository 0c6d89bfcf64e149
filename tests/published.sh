#!/usr/bin/env bash
# Test files that other projects have published, each read as pyarrow or Python's csv module reads it,
# or refused with a clear error: never a panic, a hang, or more than 1 GiB.
# Says so and ends well where there is no Python, or no registry to have the packages from.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "skipped: $*"; exit 0; }

binary=${MINISPARK:-target/release/minispark}
[ -x "$binary" ] || cargo build --release
binary=$(realpath "$binary")
command -v python3 >/dev/null || skip "there is no python3"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

venv=${PUBLISHED_VENV:-target/published-venv}
if ! "$venv/bin/python" -c 'import pyarrow, unearth' 2>/dev/null; then
  python3 -m venv "$venv" >"$folder/venv.log" 2>&1 || skip "python3 makes no virtual environment"
  "$venv/bin/pip" -q install pyarrow==26.0.1 unearth==0.19.0 >"$folder/pip.log" 2>&1 \
    || skip "pip can't install pyarrow and unearth"
fi

# The source packages, as they are; nothing in them is run.
sources=${PUBLISHED_SOURCES:-target/published}
mkdir -p "$sources"
while read -r name version; do
  [ -e "$sources/$name-$version.tar.gz" ] && continue
  timeout 120 "$venv/bin/unearth" --no-binary -d "$sources" "$name==$version" \
    >"$folder/fetch.log" 2>&1 || skip "$name $version can't be had"
done <<'PACKAGES'
agate 1.14.2
csvkit 2.2.0
deltalake 1.6.6
duckdb 2.0.1
pandas 0.20.3
polars 0.20.31
pyarrow 26.0.1
PACKAGES

"$venv/bin/python" tests/published.py --binary "$binary" --sources "$sources" --folder "$folder"
