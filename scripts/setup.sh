#!/usr/bin/env bash
# Installs what is missing to build and test Strata on Debian 12 or newer, and
# says what and why. Asks nothing.
#   setup.sh GROUP...   groups: build, test, package, tidy, fuzz
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# package: why
build_packages="
cmake: configures the build
ninja-build: runs the build
g++: compiles C++20
pkg-config: finds libraries
ccache: makes rebuilds quick
libgrpc++-dev: gRPC
protobuf-compiler: compiles proto/
protobuf-compiler-grpc: compiles the services in proto/
libprotobuf-dev: protocol buffers
libabsl-dev: Abseil: status, strings, synchronization
libsentencepiece-dev: reads tokenizer.model
libpcre2-dev: splits text for tokenizer.json
prometheus-cpp-dev: serves /metrics
libspdlog-dev: logging
libfmt-dev: text formatting
nlohmann-json3-dev: JSON
libcli11-dev: the command lines
libtomlplusplus-dev: the server's configuration file
libssl-dev: TLS, and hashes of tokens
libgtest-dev: the test framework
libgmock-dev: the test framework's matchers
valgrind: counts the kernels' instructions (its header is for the build)
"
package_packages="
dpkg-dev: finds the packages that the programs need
file: tells programs from other files
"
test_packages="
nginx-light: the test of deploy/nginx
prometheus: the test of deploy/prometheus and deploy/grafana
clang-format-14: the formatting test
python3: the lint and integration tests
faketime: sets the clock of a server that is tested
openssl: certificates for the tests of TLS
python3-venv: fetches the CUDA toolchain
libopenblas-dev: stands in for cuBLAS where CUDA is emulated
"
tidy_packages="
clang-tidy-14: make tidy
"
fuzz_packages="
clang: compiles for libFuzzer
libclang-rt-14-dev: libFuzzer and the sanitizers
"

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

installed() {
  [[ "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" == "install ok installed" ]]
}

as_root() {
  if [[ "$(id -u)" == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "installing packages needs root: run as root, or install sudo"
  fi
}

install_packages() {  # install_packages NAME...
  say "apt-get install --no-install-recommends $*"
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" </dev/null
}

need_packages() {  # need_packages < lines of "package: why"
  local missing=() package why
  while IFS=':' read -r package why; do
    [[ -z "$package" ]] && continue
    installed "$package" && continue
    say "missing $package, for:$why"
    missing+=("$package")
  done
  [[ ${#missing[@]} == 0 ]] && return
  command -v apt-get >/dev/null ||
    fail "no apt-get here; install by hand: ${missing[*]} (Debian's names)"
  # Package lists may be absent (a fresh container) or too old to install from.
  if ! apt-get install -s -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
    say "apt-get update"
    as_root apt-get update -qq </dev/null
  fi
  install_packages "${missing[@]}" && return
  say "that failed; once more with fresh package lists"
  as_root apt-get update -qq </dev/null
  install_packages "${missing[@]}" || fail "apt-get could not install: ${missing[*]}"
}

for group in "$@"; do
  case "$group" in
    build) need_packages <<<"$build_packages" ;;
    test)
      need_packages <<<"$test_packages"
      if ! command -v go >/dev/null; then
        need_packages <<<"golang-go: builds ghz, for the load test
ca-certificates: ghz is fetched over TLS"
      fi
      "$root/loadtest/ghz/install.sh" >/dev/null
      ;;
    package) need_packages <<<"$package_packages" ;;
    tidy) need_packages <<<"$tidy_packages" ;;
    fuzz) need_packages <<<"$fuzz_packages" ;;
    *) fail "no such group: $group" ;;
  esac
done
say "all there for: $*"
