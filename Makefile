# One command for each thing a person does with this tree; `make help` lists them.
# The build itself is CMake's: see CMakePresets.json.

SHELL := /bin/bash
.DEFAULT_GOAL := help
JOBS ?= $(shell nproc)

.PHONY: help setup setup-build setup-package setup-tidy setup-fuzz cuda-toolchain build programs cuda demo serve \
        test dev-test tsan-test fuzz bench package format format-check tidy clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup:  ## install the Debian packages and tools that building and testing need
	@scripts/setup.sh build test package

setup-build:
	@scripts/setup.sh build

setup-package:
	@scripts/setup.sh build package

setup-tidy:
	@scripts/setup.sh build tidy

setup-fuzz:
	@scripts/setup.sh build fuzz

# 1.5 GB, once for all clones; STRATA_CUDA=off goes without, and so does a machine that cannot.
cuda-toolchain:
	@scripts/cuda_toolchain.sh >/dev/null || test $$? = 77

build: setup-build  ## build everything into build/release
	@scripts/build.sh release $(JOBS)

programs: setup-build
	@scripts/build.sh release $(JOBS) strata-server strata strata-bench

cuda: setup-build  ## build strata-server with the CUDA backend into build/cuda
	@scripts/cuda_toolchain.sh >/dev/null
	@scripts/build.sh cuda $(JOBS) strata-server

demo: programs  ## watch models/demo draft and verify over gRPC, beside plain decoding
	@scripts/demo.sh

serve: programs  ## serve models/demo, or MODEL=DIR, until interrupted; ARGS="--flag value"
	@scripts/serve.sh $(ARGS)

test: setup cuda-toolchain  ## build, then run every test
	@scripts/build.sh release $(JOBS)
	@ctest --preset release

dev-test: setup cuda-toolchain  ## run the tests under AddressSanitizer and UBSan; ARGS="-R faults"
	@scripts/sanitize.sh dev $(JOBS) $(ARGS)

tsan-test: setup cuda-toolchain  ## run the tests under ThreadSanitizer; ARGS="-R faults"
	@scripts/sanitize.sh tsan $(JOBS) $(ARGS)

fuzz: setup-fuzz  ## fuzz the parsers, SECONDS (300) each, under AddressSanitizer and UBSan; needs clang
	@JOBS=$(JOBS) scripts/fuzz.sh $(or $(SECONDS),300) $(TARGETS)

package: setup-package  ## make build/release/strata_*.deb: the programs, the service and its configuration
	@scripts/build.sh release $(JOBS) strata-server strata strata-bench strata-loadtest strata-simulate
	@cd build/release && cpack

bench: programs  ## measure models/demo in process, against what this machine can do
	@build/release/bin/strata-bench --model models/demo $(ARGS)

format: setup  ## rewrite the C++ and proto files in our format
	@scripts/format.sh -i

format-check: setup  ## say which C++ and proto files are not in our format
	@scripts/format.sh --dry-run -Werror

tidy: setup-tidy  ## run clang-tidy over our sources
	@scripts/build.sh release $(JOBS)
	@scripts/tidy.sh $(JOBS)

clean:  ## remove all that was built
	rm -rf build
