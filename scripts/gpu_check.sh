#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the CUDA backend, runs the kernel suite on the hardware and
# under compute-sanitizer's four tools, serves models/demo from it, measures it there with strata-bench,
# and writes what came out to build/gpu_report.txt. Exit code 77 if there is no GPU, 1 if something failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
report=build/gpu_report.txt
suite=build/cuda/tests/gpu_kernels_test

if ! nvidia-smi -L >/dev/null 2>&1; then
  echo "gpu_check: no NVIDIA GPU here; nothing is checked" >&2
  exit 77
fi
toolchain="$(scripts/cuda_toolchain.sh)" || exit 1
scripts/build.sh cuda "$(nproc)" strata-server strata strata-bench gpu_kernels_test || exit 1

failures=0
check() {  # check NAME COMMAND...: runs it, its output and outcome going into the report
  local name="$1" start=$SECONDS outcome=passed
  shift
  printf '\n== %s: %s\n' "$name" "$*" >>"$report"
  "$@" >>"$report" 2>&1 </dev/null || { outcome=FAILED; failures=$((failures + 1)); }
  printf '== %s: %s in %s s\n' "$name" "$outcome" "$((SECONDS - start))" | tee -a "$report"
}

serves_the_demo() (
  STRATA_BIN="$PWD/build/cuda/bin"
  source scripts/server_lifetime.sh
  start_server models/demo --device cuda || exit 1
  "$strata_bin/strata" compare --server "$server_address" --max-new-tokens 512 \
    --exit-layer 8 --num-draft-tokens 4 $'typing import List\ndef bucket_sort(A: List):'
)

{
  echo "Strata $(git rev-parse --short HEAD 2>/dev/null), $(date -u +%Y-%m-%dT%H:%MZ)"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
} >"$report"
check "kernel suite" "$suite" --gtest_brief=1
# The sanitizers slow kernels down a hundredfold: not the long contexts and large products.
some='-*Long*:*AcrossRowTiles*:*SelectedRows*:*SiluIsAccurate*:*UnusedSlots*'
for tool in memcheck racecheck initcheck synccheck; do
  check "compute-sanitizer $tool" "$toolchain/bin/compute-sanitizer" --tool "$tool" \
    --error-exitcode 1 "$suite" --gtest_brief=1 --gtest_filter="$some"
done
check "server" serves_the_demo
check "strata-bench" build/cuda/bin/strata-bench --model models/demo --device cuda
check "strata-bench in f16" build/cuda/bin/strata-bench --model models/demo --device cuda --dtype f16
check "strata-bench by cuBLAS" build/cuda/bin/strata-bench --model models/demo --device cuda \
  --deterministic off
printf '%s: %s failures\n' "$report" "$failures" | tee -a "$report"
exit $((failures > 0))
