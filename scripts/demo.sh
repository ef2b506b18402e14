#!/usr/bin/env bash
# Serves models/demo and generates from the model card's prompt twice: token by
# token, then drafting with the first layers and verifying with the rest.
#   demo.sh [FLAG...]    flags for `strata compare`
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/server_lifetime.sh

start_server models/demo
# This small model drafts best at a deep exit where it samples.
flags=("$@")
[[ $# -gt 0 ]] || flags=(--exit-layer 8 --num-draft-tokens 4)
"$strata_bin/strata" compare --server "$server_address" \
  --max-new-tokens 512 --temperature 0.6 --top-p 0.9 \
  "${flags[@]}" \
  $'typing import List\ndef bucket_sort(A: List):'
