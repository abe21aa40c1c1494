# `make help` says what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BINARY := $(or $(CARGO_TARGET_DIR),target)/release/windlass
STAGES ?= test postgres chaos browser examples mediawiki s3 probes video demo

.PHONY: help setup build demo test test-mediawiki test-postgres test-browser test-video chaos bench lint clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | expand -t 18

setup: ## add the target that plugins are compiled for
	@[[ -d "$$(rustc --print target-libdir --target wasm32-wasip2)" ]] || rustup target add wasm32-wasip2

build: setup ## the one file a user needs: target/release/windlass, plugins inside
	cargo build --release --locked

demo: build ## four small wikis, their backlogs and the dashboard; ARGS="--listen 127.0.0.1:8080"
	@$(BINARY) demo $(ARGS)

test: setup ## everything: unit, integration, hostile guests, browser, real wikis, demo; STAGES="test demo" for some
	@tests/run $(STAGES)

test-mediawiki: setup ## the proofs against real wikis alone
	@tests/run mediawiki

test-postgres: setup ## the suite on a throw-away PostgreSQL
	@tests/run postgres

chaos: setup ## kill nodes at random under load, on both databases: N=1000 SEED=1 LEASE_MS=10000; prints one JSON object at the end
	@tests/packages chaos
	@cargo test --quiet --locked --test chaos -- --kills $(or $(N),100) --seed $(or $(SEED),1) $(addprefix --lease-ms ,$(LEASE_MS))

test-browser: setup ## the pages in a real Chromium alone
	@tests/run browser

test-video: setup ## transcoding alone, judged by ffmpeg
	@tests/run video

bench: build ## measure, write bench/latest.json and bench/triggers.json, print tables
	@$(BINARY) bench --json $$(bench/film $(dir $(BINARY))bench.mp4) $$(bench/languages $(BINARY) $(dir $(BINARY))bench-plugins) >bench/latest.json
	@bench/table bench/latest.json
	@$(BINARY) bench triggers --json >bench/triggers.json
	@bench/table bench/triggers.json

lint: setup ## formatting, clippy, dependencies' licences and sources
	@tests/run lint

clean: ## remove what was built
	cargo clean
	rm -rf plugins/target tests/guests/target
