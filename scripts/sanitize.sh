#!/usr/bin/env bash
# Builds a preset with sanitizers and runs all tests that run our code under them: the C++ suites, then
# those that start the real programs, with load on them. Fails if a test does, or if any process has
# reported something, whatever its test thought of it; the reports are in build/PRESET/reports.
#   sanitize.sh dev|tsan JOBS [ctest's arguments, e.g. -R faults]
# dev: AddressSanitizer and UndefinedBehaviorSanitizer. tsan: ThreadSanitizer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:?usage: sanitize.sh dev|tsan JOBS [CTEST ARGUMENTS]}"
jobs="${2:?usage: sanitize.sh dev|tsan JOBS [CTEST ARGUMENTS]}"
shift 2
reports="$PWD/build/$preset/reports"

# What tests wait for may take so much longer.
export STRATA_TEST_SLOWDOWN="${STRATA_TEST_SLOWDOWN:-10}"

scripts/build.sh "$preset" "$jobs"
rm -rf "$reports"
mkdir -p "$reports"
failed=0
# Reports of these are seen by how they end: some provoke reports, and read them.
ctest --preset "$preset" -LE 'integration|lint|mutant' "$@" || failed=1
log="log_path=$reports/report"
ASAN_OPTIONS="$log" UBSAN_OPTIONS="$log" TSAN_OPTIONS="$log" \
  ctest --preset "$preset" -L integration "$@" || failed=1

if [[ -n "$(ls "$reports")" ]]; then
  head -n 60 "$reports"/* >&2
  printf 'sanitize: %s reports in %s\n' "$(ls "$reports" | wc -l)" "$reports" >&2
  failed=1
fi
exit "$failed"
