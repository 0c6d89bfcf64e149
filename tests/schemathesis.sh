#!/usr/bin/env bash
# schemathesis asks a real master all that its OpenAPI document allows, and what it does not: no
# server error, no answer that is not described. Bounded in time; the seed is printed.
# Says so and ends well where there is no Python that can have schemathesis.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/support/cluster.bash
command -v python3 >/dev/null || skip "there is no python3"

version=4.32.5
venv=${SCHEMATHESIS_VENV:-target/schemathesis-venv}
if ! "$venv/bin/python" -c "import importlib.metadata as m; assert m.version('schemathesis') == '$version'" 2>/dev/null; then
  python3 -m venv "$venv" >"$folder/venv.log" 2>&1 || skip "python3 makes no virtual environment"
  "$venv/bin/pip" -q install "schemathesis==$version" >"$folder/pip.log" 2>&1 ||
    skip "pip can't install schemathesis"
fi

start_cluster

# The id of a job that is submitted with these arguments; how it ends is none of our business.
submit() { { "$binary" submit "$@" || true; } | sed -n 's/^  "\(job_id\|id\)": "\(.*\)",$/\2/p'; }

cat >"$folder/failing.json" <<JOB
{"name": "failing", "dag": {"edges": [], "nodes": [
  {"id": "agg", "op": "read_csv", "path": "data/books.csv", "columns": {"n": "int64"}}]}}
JOB
cat >"$folder/slow.json" <<JOB
{"name": "slow", "dag": {"edges": [["read", "agg"]], "nodes": [
  {"id": "read", "op": "read_text", "path": "data/books.csv"},
  {"id": "agg", "op": "map", "fn": "sleep_10s"}]}}
JOB
completed=$(submit jobs/wordcount.json --wait)
failed=$(submit "$folder/failing.json" --wait)
cancelled=$(submit "$folder/slow.json")
"$binary" cancel "$cancelled" >/dev/null
running=$(submit "$folder/slow.json")

# Ids and nodes that exist, most of the time. What a schema can't say may be refused as invalid: a
# job document that makes no sense, `file` together with what it excludes.
cat >"$folder/schemathesis.toml" <<CONFIG
[dictionaries]
jobs = { values = ["$completed", "$failed", "$cancelled", "$running"] }
sinks = { values = ["agg"] }

[parameters]
"path.id" = { dictionary = "jobs", probability = 0.8 }
"path.sink" = { dictionary = "sinks", probability = 0.8 }

[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 403, 404, 406, 409, 410, 416, 429]

[[operations]]
include-operation-id = "submitJob"
checks = { positive_data_acceptance = { expected-statuses = ["2xx", 400, 422, 429] } }

[[operations]]
include-operation-id = "downloadResult"
checks = { positive_data_acceptance = { expected-statuses = ["2xx", 304, 400, 404, 406, 409, 410, 416] } }
CONFIG

# The jobs of this repository are what the served JSON Schema describes, and a typo is not.
"$venv/bin/python" - "$MASTER_URL/api/v1/schema/job.json" <<'CHECK'
import glob, json, sys, urllib.request
import jsonschema_rs

schema = jsonschema_rs.validator_for(json.load(urllib.request.urlopen(sys.argv[1])))
paths = sorted(glob.glob("jobs/*.json") + glob.glob("tests/golden/*/job.json"))
assert len(paths) > 10, paths
for path in paths:
    document = json.load(open(path))
    errors = [error.message for error in schema.iter_errors(document)]
    assert not errors, (path, errors)
    document["dag"]["nodes"][0]["pth"] = "x"
    assert not schema.is_valid(document), path
print(f"{len(paths)} job documents are as the schema says")
CHECK

seed=${SEED:-20261125}
echo "seed $seed"
schemathesis=$(realpath -s "$venv/bin/schemathesis")
# What it leaves behind is left where it is removed.
cd "$folder"
"$schemathesis" --config-file "$folder/schemathesis.toml" run \
  "$MASTER_URL/api/v1/openapi.json" --checks all --seed "$seed" \
  --max-examples "${EXAMPLES:-30}" --max-time "${SECONDS_AT_MOST:-75}" --workers 1 \
  --suppress-health-check all --request-timeout 20 --no-color --continue-on-failure
if grep -q '"level":"ERROR"' "$folder/master.log"; then
  grep '"level":"ERROR"' "$folder/master.log" >&2
  echo "the master met errors" >&2
  exit 1
fi
