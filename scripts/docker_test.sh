#!/usr/bin/env bash
# The cluster of docker-compose.yml on a real Docker engine, under faults: a worker's container is
# killed, another is cut off the network and comes back, the master's is restarted and killed. Each
# time the job that runs must end COMPLETED, with the bytes that `minispark run` gives here.
#
# Unattended; makes a project, a network, ports and folders of its own and removes them at the end,
# also after Ctrl-C. Says so and ends well where no Docker engine answers.
#
#   BINARY=FILE          the minispark to test [built by cargo]
#   BASE_IMAGE=IMAGE     what its image stands on [as docker/build.sh has it]
#   DOCKER_TEST_PORT=N   REST on port N of this machine, Flight on N+1 [one of 20000 to 29998]
#   KEEP=1               keeps the image
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "skipped: $*"; exit 0; }
fail() { echo "FAILED: $*" >&2; exit 1; }

command -v docker >/dev/null || skip "docker is not installed"
timeout 20 docker version >/dev/null 2>&1 || skip "no Docker engine answers"
docker/compose.sh version >/dev/null 2>&1 || skip "Docker has no compose here"

project=minispark-test-$$
export COMPOSE_PROJECT_NAME=$project
export MINISPARK_IMAGE=minispark:test-$$
export MINISPARK_NETWORK=$project
export MINISPARK_PORT=${DOCKER_TEST_PORT:-$((20000 + $$ % 4999 * 2))}
export MINISPARK_FLIGHT_PORT=$((MINISPARK_PORT + 1))
export MASTER_URL=http://127.0.0.1:$MINISPARK_PORT
# What was killed stays so until this script starts it.
export MINISPARK_RESTART=no
keep=${KEEP:-0}
had_base=$(docker image ls --quiet minispark-base:local)

mkdir -p target
work=$(mktemp -d "$PWD/target/docker-test.XXXXXX")
export MINISPARK_DATA=$work/data MINISPARK_OUTPUT=$work/output
mkdir "$MINISPARK_DATA" "$MINISPARK_OUTPUT"

clean_up() {
  local code=$?
  trap - EXIT INT TERM
  if [ "$code" != 0 ]; then
    echo "--- what the nodes said last" >&2
    timeout 20 docker/compose.sh logs --tail 30 >&2 || true
  fi
  wait_for_children
  remove_all >"$work/clean.log" 2>&1 || { cat "$work/clean.log" >&2; code=1; }
  rm -rf "$work"
  exit "$code"
}

wait_for_children() {
  local children
  children=$(jobs -p)
  # shellcheck disable=SC2086 # one word for each
  [ -z "$children" ] || kill $children 2>/dev/null || true
  wait || true
}

remove_all() {
  KEEP=1 timeout 90 docker/clean.sh
  [ "$keep" = 1 ] && return
  remove_image "$MINISPARK_IMAGE"
  [ -n "$had_base" ] || remove_image minispark-base:local
  docker image prune --force --filter label=org.minispark.stage=builder
}

remove_image() {
  ! docker image inspect "$1" >/dev/null 2>&1 || docker image rm "$1"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- What is asked of the cluster

client() { "$binary" --json "$@"; }

# wait_until SECONDS WHAT COMMAND...: runs the command until it succeeds.
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || fail "not within its time: $what"
    sleep 0.1
  done
}

container() { docker/compose.sh ps --all --quiet "$1"; }

# The id of a new job of a document.
submit() {
  curl -sS --fail-with-body --max-time 20 -X POST --data-binary "@$1" "$MASTER_URL/api/v1/jobs" |
    sed -n 's/.*"job_id": *"\([^"]*\)".*/\1/p'
}

# field JOB NAME: a field of the job's status document.
field() { client status "$1" 2>/dev/null | sed -n "s/^  \"$2\": \"\{0,1\}\([^\",]*\).*/\1/p"; }

# worker NODE NAME: a field of what the master says of a worker that is not an earlier life of it.
worker() {
  client workers 2>/dev/null | awk -v node="\"$1:" -v name="\"$2\":" '
    /^    {/ { ours = 0; value = "" }
    $1 == "\"address\":" && index($2, node) == 1 { ours = 1 }
    $1 == name { value = $2; gsub(/[",]/, "", value) }
    /^    }/ && ours { last = value }
    END { print last }'
}

answers() { client health >/dev/null 2>&1; }
is_up() { [ "$(worker "$1" state)" = UP ]; }
is_down() { [ "$(worker "$1" state)" = DOWN ]; }
both_up() { is_up worker1 && is_up worker2; }

# The job runs, some of its tasks are done, and the worker has others of them.
is_midway() {
  [ "$(field "$1" status)" = RUNNING ] &&
    awk -v running="$(worker "$2" running)" -v progress="$(field "$1" progress_percent)" \
      'BEGIN { exit !(running > 0 && progress > 0) }'
}

has_ended() {
  case $(field "$1" status) in COMPLETED | FAILED | CANCELLED) ;; *) false ;; esac
}

# --- What must hold

report=()
passed() { report+=("ok       $*"); echo "ok: $*"; }

# completed JOB: waits for its end, which must be well, and compares all its results with those of
# the undisturbed run.
completed() {
  local job=$1 sink
  wait_until 120 "the end of job $job" has_ended "$job"
  [ "$(field "$job" status)" = COMPLETED ] || fail "job $job is $(client status "$job")"
  for sink in counts naps; do
    cmp "$MINISPARK_OUTPUT/${job}_$sink.txt" "$(expected "$sink")" || fail "$sink of job $job"
  done
}

expected() { find "$work/expected" -name "*_$1.txt"; }

# under_fault WHAT WORKER COMMAND...: breaks something while the worker is midway in a job.
under_fault() {
  local what=$1 node=$2 job started=$SECONDS
  shift 2
  job=$(submit "$work/faults.json")
  wait_until 60 "job $job midway on $node" is_midway "$job" "$node"
  "$@"
  [ "$(field "$job" status)" != COMPLETED ] || fail "the job ended before it was hit: $what"
  completed "$job"
  failures=$(field "$job" failure_count)
  passed "$what: COMPLETED, same bytes, failure_count $failures, $((SECONDS - started)) s"
}

# --- The faults

kill_worker1() { docker kill "$(container worker1)" >/dev/null; }

cut_off_worker2() {
  local id
  id=$(container worker2)
  docker network disconnect "$MINISPARK_NETWORK" "$id"
  wait_until 30 "worker2 is taken for lost" is_down worker2
  docker network connect --alias worker2 "$MINISPARK_NETWORK" "$id"
}

restart_master() {
  docker restart -t 10 "$(container master)" >/dev/null
  wait_until 30 "the master answers again" answers
}

kill_master() {
  docker kill "$(container master)" >/dev/null
  docker start "$(container master)" >/dev/null
  wait_until 30 "the master answers again" answers
}

# --- The run

if [ -z "${BINARY:-}" ]; then
  cargo build --release --locked -p minispark
  BINARY=target/release/minispark
fi
binary=$(realpath "$BINARY")
export BINARY=$binary

echo "== inputs, and the results of an undisturbed run"
cp data/books.csv "$MINISPARK_DATA"
printf 'one\ntwo\nthree\n' >"$MINISPARK_DATA/naps.txt"
# A linear congruential generator (Park and Miller), so that the words are the same everywhere.
awk 'BEGIN {
  x = 1
  for (line = 0; line < 100000; line++) {
    for (word = 0; word < 8; word++) { x = x * 16807 % 2147483647; printf "w%d ", x % 50000 }
    print ""
  }
}' >"$work/block.txt"
for _ in $(seq 30); do cat "$work/block.txt"; done >"$MINISPARK_DATA/words.txt"
cat >"$work/faults.json" <<'JOB'
{
  "name": "under-fault",
  "dag": {
    "nodes": [
      { "id": "words", "op": "read_text", "path": "data/words.txt" },
      { "id": "split", "op": "flat_map", "fn": "tokenize" },
      { "id": "lower", "op": "map", "fn": "to_lower" },
      { "id": "counts", "op": "reduce_by_key", "key": "token", "fn": "sum" },
      { "id": "lines", "op": "read_csv", "path": "data/naps.txt", "partitions": 3 },
      { "id": "naps", "op": "map", "fn": "sleep_10s" }
    ],
    "edges": [["words", "split"], ["split", "lower"], ["lower", "counts"], ["lines", "naps"]]
  }
}
JOB
(
  cd "$work"
  "$binary" --quiet run faults.json --output-dir expected --show 0 >run.log 2>&1
) &
oracle=$!

echo "== the image"
docker/build.sh

echo "== the cluster"
docker/up.sh
wait "$oracle" || fail "the undisturbed run: $(cat "$work/run.log")"

job=$(submit jobs/wordcount.json)
wait_until 60 "the end of job $job" has_ended "$job"
result=$MINISPARK_OUTPUT/${job}_agg.txt
cmp "$result" data/expected/books.txt || fail "the word count of the README"
[ "$(stat -c %u "$result")" = "$(id -u)" ] || fail "$result is not this user's"
passed "a job posted from the host, its result in the shared folder, this user's"

size=$(docker image inspect --format '{{.Size}}' "$MINISPARK_IMAGE")
# The base is the user's choice; what is put on it is ours. The goal is 40 MB; this keeps it from
# growing further.
[ "$(stat -c %s target/image/minispark)" -lt 60000000 ] || fail "the binary in the image is too large"
user=$(docker image inspect --format '{{.Config.User}}' "$MINISPARK_IMAGE")
case $user in "" | root* | 0 | 0:*) fail "the image runs as root" ;; esac
passed "the image has $((size / 1000000)) MB and runs as user $user"

is_healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")" = healthy ]; }
for node in master worker1 worker2; do wait_until 40 "$node is healthy" is_healthy "$node"; done
passed "all three containers are healthy"

# On a fast machine what worker1 had may end between the look and the kill, and then no attempt fails.
failures=0
for _ in 1 2 3; do
  under_fault "worker1 killed" worker1 kill_worker1
  docker start "$(container worker1)" >/dev/null
  wait_until 30 "worker1 is back" both_up
  [ "$failures" -lt 1 ] || break
done
[ "$failures" -ge 1 ] || fail "failure_count does not tell of the lost worker"

under_fault "worker2 cut off the network and connected again" worker2 cut_off_worker2
wait_until 30 "worker2 is back" both_up

under_fault "the master restarted" worker1 restart_master
wait_until 30 "the workers are back" both_up

under_fault "the master killed and started" worker1 kill_master
wait_until 30 "the workers are back" both_up

echo "== docker-clean leaves nothing behind"
KEEP=1 docker/clean.sh >"$work/clean.log" 2>&1 || fail "$(cat "$work/clean.log")"
for listing in "container ls --all" "network ls" "volume ls"; do
  # shellcheck disable=SC2086 # one word for each
  left=$(docker $listing --quiet --filter "label=com.docker.compose.project=$project")
  [ -z "$left" ] || fail "left in docker $listing: $left"
done
[ -z "$(ls -A "$MINISPARK_OUTPUT")" ] || fail "results are left in $MINISPARK_OUTPUT"
KEEP=1 docker/clean.sh >"$work/clean.log" 2>&1 || fail "a second time: $(cat "$work/clean.log")"
passed "containers, network, volumes and results are gone; a second call is no error"

printf '\n== report, %d s\n' "$SECONDS"
printf '%s\n' "${report[@]}"
