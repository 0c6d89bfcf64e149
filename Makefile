# Thin wrappers over cargo, minispark and scripts/; none is needed, and `make help` lists them.
.POSIX:
.PHONY: help build run-cluster stop clean test bench run-master run-worker-1 run-worker-2

help:
	@echo "make build         the release binary, and bin/ with client, master and worker as links to it"
	@echo "make run-cluster   a master and two workers in the background; logs in logs/"
	@echo "make stop          stops them, and nothing else"
	@echo "make run-master    a master in this terminal"
	@echo "make run-worker-1  a worker in this terminal, on port 9001"
	@echo "make run-worker-2  a worker in this terminal, on port 9002"
	@echo "make test          all tests, with the release binary"
	@echo "make bench         the benchmarks"
	@echo "make clean         removes builds, logs, state and temporary data; stops the cluster first"

build:
	cargo build --release
	@mkdir -p bin
	@ln -sf ../target/release/minispark bin/minispark
	@ln -sf minispark bin/client
	@ln -sf minispark bin/master
	@ln -sf minispark bin/worker

run-cluster: build
	bin/minispark dev up
	@ln -sf logs/master.log master.log
	@ln -sf logs/worker1.log worker1.log
	@ln -sf logs/worker2.log worker2.log

stop:
	@scripts/stop.sh

clean:
	@scripts/clean.sh

test:
	cargo test --release --workspace

bench:
	cargo bench

run-master: build
	bin/master --state-dir mini-spark-dev/state

run-worker-1: build
	bin/worker --port 9001 --work-dir mini-spark-dev/worker1

run-worker-2: build
	bin/worker --port 9002 --work-dir mini-spark-dev/worker2

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
