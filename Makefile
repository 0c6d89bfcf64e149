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
