#!/usr/bin/env bash
# Starts the cluster of docker-compose.yml in the background; returns when the master takes jobs and
# both workers have joined it. Builds the image where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

docker image inspect "${MINISPARK_IMAGE:-minispark:local}" >/dev/null 2>&1 || docker/build.sh
mkdir -p "${MINISPARK_OUTPUT:-tmp_shared}"
docker/compose.sh up --detach --no-build

workers_up() {
  docker/compose.sh exec -T master minispark health --json 2>/dev/null |
    sed -n 's/.*"workers": *\([0-9]*\).*/\1/p'
}
patience=60
started=$SECONDS
until [ "$(workers_up)" = 2 ]; do
  if [ $((SECONDS - started)) -gt "$patience" ]; then
    echo "error: after $patience s the cluster is not up; what its nodes say:" >&2
    docker/compose.sh logs --tail 20 >&2
    exit 1
  fi
  sleep 0.2
done
echo "up: http://127.0.0.1:${MINISPARK_PORT:-8080}, Flight on ${MINISPARK_FLIGHT_PORT:-8081}, 2 workers"
