#!/usr/bin/env bash
# Configures (once) and builds a preset of CMakePresets.json.
#   build.sh PRESET JOBS [TARGET...]     without targets: all
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:?usage: build.sh PRESET JOBS [TARGET...]}"
jobs="${2:?usage: build.sh PRESET JOBS [TARGET...]}"
shift 2

toolchain_is_new() {  # installed since the configuration, which has none
  [[ "${STRATA_CUDA:-on}" != off && -x "$(scripts/cuda_toolchain.sh --where)/bin/nvcc" ]] &&
    grep -q '^STRATA_CUDA_TOOLCHAIN:PATH=$' "build/$preset/CMakeCache.txt"
}
if [[ ! -f "build/$preset/build.ninja" ]] || toolchain_is_new; then cmake --preset "$preset"; fi
cmake --build --preset "$preset" --parallel "$jobs" ${1:+--target "$@"}
