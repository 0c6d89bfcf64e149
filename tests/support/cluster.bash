# Sourced by the scripts beside this folder: a folder of their own, and a real master and worker in
# it, which end with the script.

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

# A master with these further arguments, and a worker; MASTER_URL and `flight` are the master's.
start_cluster() {
  "$binary" master --bind 127.0.0.1:0 --flight-port 0 --state-dir "$folder/state" \
    --output-dir "$folder/output" "$@" 2>"$folder/master.log" &
  pids+=($!)
  local rest
  rest=$(logged "$folder/master.log" rest)
  flight=$(logged "$folder/master.log" flight)
  export MASTER_URL="http://${rest#http://}"
  "$binary" worker --port 0 --work-dir "$folder/work" 2>"$folder/worker.log" &
  pids+=($!)
}
