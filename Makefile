# Thin wrappers over cargo; none is needed, and `make help` lists them.
.POSIX:
.PHONY: help build test bench

help:
	@echo "make build   the release binary, and bin/ with client, master and worker as links to it"
	@echo "make test    all tests, with the release binary"
	@echo "make bench   the benchmarks"

build:
	cargo build --release
	mkdir -p bin
	ln -sf ../target/release/minispark bin/minispark
	ln -sf minispark bin/client
	ln -sf minispark bin/master
	ln -sf minispark bin/worker

test:
	cargo test --release --workspace

bench:
	cargo bench

# Docker: the image, and a master and two workers in containers.
.PHONY: help-docker docker-build docker-up docker-run docker-clean

help: help-docker

help-docker:
	@echo "make docker-build   the image"
	@echo "make docker-up      master and two workers in containers, in the background"
	@echo "make docker-run     docker-build, then the containers with all their logs, until Ctrl-C"
	@echo "make docker-clean   containers, network, volumes, results and images removed"

docker-build:
	docker/build.sh

docker-up:
	docker/up.sh

docker-run: docker-build
	mkdir -p tmp_shared
	docker/compose.sh up --no-build

docker-clean:
	docker/clean.sh
