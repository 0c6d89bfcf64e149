#!/usr/bin/env bash
# Removes what the cluster of docker-compose.yml left: containers, network, volumes, the results in
# tmp_shared and, unless KEEP=1, the images that docker/build.sh made. Nothing there is no error.
set -euo pipefail
cd "$(dirname "$0")/.."

output=${MINISPARK_OUTPUT:-tmp_shared}
if command -v docker >/dev/null; then
  docker/compose.sh down --volumes --remove-orphans --timeout 5
  if [ "${KEEP:-0}" != 1 ]; then
    for image in "${MINISPARK_IMAGE:-minispark:local}" minispark-base:local; do
      ! docker image inspect "$image" >/dev/null 2>&1 || docker image rm "$image"
    done
    docker image prune --force --filter label=org.minispark.stage=builder
  fi
fi
[ ! -d "$output" ] || find "$output" -mindepth 1 -delete
