#!/usr/bin/env bash
# Configures (once) and builds a preset of CMakePresets.json.
#   build.sh PRESET [JOBS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:?usage: build.sh PRESET [JOBS]}"
jobs="${2:-$(nproc)}"

[[ -f "build/$preset/build.ninja" ]] || cmake --preset "$preset"
cmake --build --preset "$preset" --parallel "$jobs"
