#!/usr/bin/env bash
# Builds ghz from its Go module into the user's cache, unless it is there, and
# prints the path of the program.
set -euo pipefail

# The newest version that Debian 12's Go (1.19) can build.
version=v0.93.0
folder="${XDG_CACHE_HOME:-$HOME/.cache}/strata/bin"
program="$folder/ghz-$version"

if [[ ! -x "$program" ]]; then
  command -v go >/dev/null || {
    echo "ghz: no Go compiler to build it with; run: make setup" >&2
    exit 1
  }
  echo "ghz: go install github.com/bojand/ghz/cmd/ghz@$version, into $folder" >&2
  mkdir -p "$folder"
  staging="$(mktemp -d "$folder/staging.XXXXXX")"
  trap 'rm -rf "$staging"' EXIT
  GOBIN="$staging" go install "github.com/bojand/ghz/cmd/ghz@$version"
  mv "$staging/ghz" "$program"
fi
echo "$program"
