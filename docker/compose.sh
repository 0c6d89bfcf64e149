#!/usr/bin/env bash
# `docker compose` or `docker-compose`, whichever is there, for the cluster of docker-compose.yml:
# the containers run as the user who calls this, so that results are that user's.
set -euo pipefail
cd "$(dirname "$0")/.."

export MINISPARK_UID=${MINISPARK_UID:-$(id -u)} MINISPARK_GID=${MINISPARK_GID:-$(id -g)}

if docker compose version >/dev/null 2>&1; then
  exec docker compose "$@"
elif command -v docker-compose >/dev/null; then
  exec docker-compose "$@"
fi
echo "error: neither \`docker compose\` nor \`docker-compose\` is installed" >&2
exit 1
