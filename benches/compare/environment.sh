# What the commands of this folder share, to be sourced: the Python environment and the folders.
#
# `prepare` sets `python` and exports COMPARE_VENV and COMPARE_DATA.
prepare() {
  local here
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  export COMPARE_VENV=${COMPARE_VENV:-$here/venv}
  export COMPARE_DATA=${COMPARE_DATA:-$here/data}
  python=$COMPARE_VENV/bin/python
  [ -x "$python" ] || python3 -m venv "$COMPARE_VENV"
  local wanted=("$here/requirements.txt")
  if java -version >/dev/null 2>&1; then wanted+=("$here/requirements-spark.txt"); fi
  # Nothing is asked of a package index where all is there already.
  if ! "$python" "$here/installed.py" "${wanted[@]}"; then
    "$python" -m ensurepip -q 2>/dev/null || true
    local lists=() list
    for list in "${wanted[@]}"; do lists+=(-r "$list"); done
    "$python" -m pip -q install --compile "${lists[@]}"
  fi
}
