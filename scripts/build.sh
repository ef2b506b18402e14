#!/usr/bin/env bash
# Configures (once) and builds a preset of CMakePresets.json.
#   build.sh PRESET JOBS [TARGET...]     without targets: all
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:?usage: build.sh PRESET JOBS [TARGET...]}"
jobs="${2:?usage: build.sh PRESET JOBS [TARGET...]}"
shift 2

[[ -f "build/$preset/build.ninja" ]] || cmake --preset "$preset"
cmake --build --preset "$preset" --parallel "$jobs" ${1:+--target "$@"}
