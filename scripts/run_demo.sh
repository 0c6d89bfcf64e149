#!/usr/bin/env bash
# The demo: clean, build, run, test, report. Needs no answers, stops what it started, on Ctrl-C too.
#
# It is `make clean` but for the build, which is kept; then the example jobs run on a local cluster
# and each result is compared with the expected one. MINISPARK names a binary that is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

started=
report=$(mktemp)
rows=$(mktemp)
finish() {
  if [ -n "$started" ]; then "$binary" dev down >/dev/null || true; fi
  rm -f "$report" "$rows"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "clean"
scripts/clean.sh --keep-build

step "build"
binary=${MINISPARK:-target/release/minispark}
if [ -n "${MINISPARK:-}" ]; then
  echo "taking $MINISPARK"
elif command -v make >/dev/null; then
  make build
else
  cargo build --release
fi
"$binary" version

step "run: a master and two workers"
started=yes
SECONDS=0
if ! "$binary" dev up >/dev/null; then
  echo "the usual ports can't be had; taking free ones"
  "$binary" dev up --port 0 --flight-port 0 --worker-port 0 >/dev/null
fi
address=$("$binary" dev status --json | sed -n 's/.*"rest": "\([^"]*\)".*/\1/p')
export MASTER_URL="http://$address"
echo "up at $MASTER_URL; logs in logs/"

# The value of a key of a document, where it stands at the top.
field() { sed -n "s/^  \"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" | head -n 1; }

# Runs a job and compares its rows with what they must be.
failed=0
check() {
  local job=$1 expected=$2 document id verdict=OK
  step "test: $job"
  document=$("$binary" submit "$job" --wait --json) || verdict=FAILED
  id=$(field id <<<"$document")
  "$binary" results "$id" --show 1000 >"$rows" || verdict=FAILED
  cat "$rows"
  cmp -s "$rows" "$expected" || verdict=DIFFERENT
  if [ "$verdict" != OK ]; then
    failed=1
    diff "$expected" "$rows" || true
  fi
  printf '| %s | %s | %s | %s | %s |\n' "$job" "$(field status <<<"$document")" \
    "$(wc -l <"$rows")" "$(field duration_secs <<<"$document")" "$verdict" >>"$report"
}

check jobs/wordcount.json data/expected/books.txt
check join_job.json data/expected/join.txt
check jsonl_test_job.json data/expected/users.txt
check jobs/top_words.json data/expected/top_words.txt

step "report"
echo "| job | status | rows | seconds | as expected |"
echo "|---|---|--:|--:|---|"
cat "$report"
printf '\nworkers\n'
"$binary" workers --json | sed -n 's/^ *"\(address\|state\|tasks_done\)": /  \1 /p'
echo
if [ "$failed" != 0 ]; then
  echo "the demo failed after $SECONDS s"
  exit 1
fi
echo "all results are as expected, after $SECONDS s"
