#!/usr/bin/env bash
# Runs each fuzz target for a time, from its corpus on: fuzz.sh [SECONDS [TARGET...]]
# New inputs, and those that fail, are left in build/fuzz/TARGET.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds="${1:-300}"
shift || true
targets=("$@")
[[ ${#targets[@]} == 0 ]] &&
  targets=(safetensors model_config tokenizer_json detokenizer request_translation trace_context)

# libFuzzer looks for leaks after each input by itself; at the end, its own objects look like some.
export LSAN_OPTIONS=leak_check_at_exit=0
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --parallel "${JOBS:-$(nproc)}" --target "${targets[@]/#/fuzz_}"
for target in "${targets[@]}"; do
  found="build/fuzz/$target"
  mkdir -p "$found"
  printf 'fuzz: %s, %s seconds\n' "$target" "$seconds"
  "build/fuzz/tests/fuzz_$target" -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=4096 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$found/" "$found" "tests/fuzz/corpus/$target"
done
