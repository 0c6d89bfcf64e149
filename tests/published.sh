#!/usr/bin/env bash
# Test files that other projects have published, each read as pyarrow or Python's csv module reads it,
# or refused with a clear error: never a panic, a hang, or more than 1 GiB.
#   tests/published.sh [NAME==VERSION ...]      with further source packages, frictionless==5.21.0 say
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
packages=(agate==1.14.2 csvkit==2.2.0 deltalake==1.6.6 duckdb==0.10.3 duckdb==2.0.1 pandas==0.20.3
  polars==0.20.31 pyarrow==26.0.1 "$@")
mkdir "$folder/sources"
for package in "${packages[@]}"; do
  archive=${package/==/-}.tar.gz
  if [ ! -e "$sources/$archive" ]; then
    timeout 120 "$venv/bin/unearth" --no-binary -d "$folder" "$package" >"$folder/fetch.log" 2>&1 \
      || skip "$package can't be had"
    mv "$folder/$archive" "$sources/"
  fi
  ln -s "$(realpath "$sources/$archive")" "$folder/sources/"
done

mkdir "$folder/files"
"$venv/bin/python" tests/published.py --binary "$binary" --sources "$folder/sources" \
  --folder "$folder/files"
