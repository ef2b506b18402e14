#!/usr/bin/env bash
# Installs NVIDIA's compiler, headers and libraries from PyPI (1.5 GB, once) into
# ${XDG_CACHE_HOME:-~/.cache}/strata, outside the tree, and prints the folder. No GPU or driver is needed.
#   cuda_toolchain.sh            install if missing; exit 0 and print the folder
#   cuda_toolchain.sh --where    print the folder, whether or not it is there
# STRATA_CUDA=off: does nothing and exits with 77, as where there is no room or no network.
set -euo pipefail

version=13.5.0
packages=("cuda-toolkit[nvcc,cudart,cccl,cublas,cuobjdump,nvdisasm,sanitizer]==$version"
          "nvidia-nccl-cu13==2.32.3")
needed_mib=3500  # while it is unpacked

cache="${XDG_CACHE_HOME:-$HOME/.cache}/strata"
toolchain="$cache/cuda-$version"

skip() {
  printf 'cuda: %s; the CUDA backend is neither built nor tested\n' "$*" >&2
  exit 77
}

[[ "${1:-}" == --where ]] && { echo "$toolchain"; exit 0; }
[[ "${STRATA_CUDA:-on}" == off ]] && skip "STRATA_CUDA=off"
[[ -x "$toolchain/bin/nvcc" ]] && { echo "$toolchain"; exit 0; }
[[ "$(uname -sm)" == "Linux x86_64" ]] || skip "no toolchain for $(uname -sm)"

mkdir -p "$cache" 2>/dev/null || skip "cannot write to $cache"
# Two clones may want it at once.
exec 9>"$cache/cuda.lock"
flock 9
[[ -x "$toolchain/bin/nvcc" ]] && { echo "$toolchain"; exit 0; }
free_mib="$(df --output=avail -m "$cache" | tail -n 1)"
(( free_mib >= needed_mib )) || skip "$cache has $free_mib MiB free, the toolchain needs $needed_mib"

partial="$(mktemp -d "$cache/cuda.XXXXXX")"
trap 'rm -rf "$partial"' EXIT
printf 'cuda: installing %s into %s (1.5 GB, once)\n' "${packages[*]}" "$toolchain" >&2
python3 -m venv "$partial/venv" >"$partial/log" 2>&1 ||
  skip "python3 -m venv failed: $(tail -n 1 "$partial/log")"
"$partial/venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --no-compile \
  --target "$partial/packages" "${packages[@]}" >"$partial/log" 2>&1 ||
  skip "pip could not install it: $(grep -i error "$partial/log" | tail -n 1)"

# What the packages leave out: the names that a linker looks for, and one folder for all.
mv "$partial/packages/nvidia/cu13" "$partial/toolchain"
mv "$partial/packages/nvidia/nccl/include/"* "$partial/toolchain/include/"
mv "$partial/packages/nvidia/nccl/lib/"* "$partial/toolchain/lib/"
for library in "$partial"/toolchain/lib/lib*.so.*; do
  name="$(basename "$library")"
  ln -sf "$name" "$partial/toolchain/lib/${name%%.so.*}.so"
done
ln -s lib "$partial/toolchain/lib64"
mv "$partial/toolchain" "$toolchain"
echo "$toolchain"
