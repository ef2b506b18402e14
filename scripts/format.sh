#!/usr/bin/env bash
# Runs clang-format, with the options given, over our C++ and proto files.
#   format.sh -i                  rewrite them
#   format.sh --dry-run -Werror   fail if one is not formatted
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v clang-format-14 >/dev/null || {
  echo "format: clang-format-14 is not installed; run: make setup" >&2
  exit 1
}
tests/lint/source_files.py --suffix .h .cc .cu .proto --null |
  xargs -0 --no-run-if-empty clang-format-14 --style=file "$@"
