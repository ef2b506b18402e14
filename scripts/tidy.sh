#!/usr/bin/env bash
# Runs clang-tidy over the sources of build/release.   tidy.sh [JOBS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs="${1:-$(nproc)}"

run-clang-tidy-14 -quiet -p build/release -j "$jobs" \
  "^$PWD/(kernels|engine|server|client|bench|loadtest)/.*\.cc$"
