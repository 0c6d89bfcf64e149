#!/usr/bin/env bash
# Builds the image, with or without an image registry.
#
#   MINISPARK_IMAGE   its name [minispark:local]
#   BASE_IMAGE        what it stands on [debian:stable-slim, else one made by docker/make_base.sh]
#   BINARY            a minispark built outside [none: compiled in BUILDER_IMAGE where that is to be
#                     had, else by the cargo of this machine]
#   BUILDER_IMAGE     where it is compiled [rust:1.95-slim]
set -euo pipefail
cd "$(dirname "$0")/.."

image=${MINISPARK_IMAGE:-minispark:local}
base=${BASE_IMAGE:-debian:stable-slim}
builder=${BUILDER_IMAGE:-rust:1.95-slim}
binary=${BINARY:-}

# Whether an image is here or can be pulled.
is_to_be_had() {
  docker image inspect "$1" >/dev/null 2>&1 || timeout 600 docker pull "$1"
}

if [ -z "${BASE_IMAGE:-}" ] && ! is_to_be_had "$base"; then
  base=minispark-base:local
  echo "debian:stable-slim is not to be had; the base is made from Debian's packages: $base"
  docker/make_base.sh "$base"
fi
if [ -z "$binary" ] && ! is_to_be_had "$builder"; then
  echo "$builder is not to be had; cargo builds the binary on this machine"
  cargo build --release --locked -p minispark
  binary=target/release/minispark
fi

arguments=(--build-arg "BASE_IMAGE=$base")
if [ -n "$binary" ]; then
  mkdir -p target/image
  cp "$binary" target/image/minispark
  ! command -v strip >/dev/null || strip target/image/minispark
  # Nothing is compiled, so the base serves as builder; it needs a shell for that.
  arguments+=(--build-arg "BUILDER_IMAGE=${BUILDER_IMAGE:-$base}")
  arguments+=(--build-arg BINARY=target/image/minispark)
else
  arguments+=(--build-arg "BUILDER_IMAGE=$builder")
fi
docker build --file docker/Dockerfile --tag "$image" "${arguments[@]}" .

# A binary that was linked against a newer glibc than the base has does not start.
docker run --rm --network none "$image" version || {
  echo "error: the binary does not run on $base; build it there, or name another BASE_IMAGE" >&2
  exit 1
}
docker image inspect --format "built $image: {{.Size}} bytes" "$image"
