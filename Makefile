# One word for each thing one does here. `make image` and `make test` do all the set-up they need on a fresh Debian machine.

SHELL := /bin/bash
OCLOCK := target/release/oclock

.PHONY: image test lint fmt tamper parity bench vary update

image: ## Build this repository's own image from the committed lockfile; prints its ID
	tools/ensure-engines build
	cargo build --release --locked
	$(OCLOCK) update --pruned
	$(OCLOCK) build

test: ## All tests, with real engines and a real registry server
	tools/ensure-engines all
	tools/with-dockerd tools/run-tests

lint: ## Formatting, clippy without warnings, licences, no registry named
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	tools/check-hosts

fmt:
	cargo fmt

tamper: ## Lockfiles and stores changed with bad intent and at random, beside npm, uv and pip
	OCLOCK_MUTATIONS=10000 OCLOCK_DAMAGES=1000 cargo test --locked --test tamper --test store_damage -- --nocapture
	tools/tamper-peers

parity: ## The resolvers beside the newest npm, uv and apt on all of tests/parity/*.txt; what differs must be explained there
	OCLOCK_PARITY=all cargo test --release --locked --no-fail-fast --test parity_apt --test parity_npm --test parity_pip -- --nocapture

bench: ## Peers side by side in one run, as ratios
	tools/ensure-engines all
	cargo build --release --locked
	tools/with-dockerd tools/bench

vary: ## One image ID in every surroundings and under older and newer engines; without any engine too
	tools/ensure-engines all
	cargo build --release --locked
	tools/with-dockerd tools/vary --write
	tools/with-dockerd tools/vary --image --write
	tools/newer-engines --write
	tools/newer-engines --image --write
	tools/without-engines

update: ## Choose newer versions, build, record
	cargo build --release --locked
	$(OCLOCK) update
	$(OCLOCK) build --record
