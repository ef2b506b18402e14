#!/usr/bin/env bash
# Load-tests a real server with ghz, by reflection: 200 calls at concurrency 16
# of GenerateUnary and 200 of Generate, every one of which must end with OK.
#   run.sh            starts a server of models/demo for it
#   run.sh HOST:PORT  uses the server there
# $CALLS and $CONCURRENCY override the numbers.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../../scripts/server_lifetime.sh"
calls="${CALLS:-200}"
concurrency="${CONCURRENCY:-16}"
ghz="$("$here/install.sh")"

# Prompts differ by call; so do exit layer and draft length, so that batches
# mix requests which draft at different layers with some that do not draft.
requests() {
  local prompts=('import os\n' 'def bucket_sort(A: List):' 'class Queue:\n    def ' 'for i in range(')
  local modes=('{"fixed": {"exit_layer": 4, "num_draft_tokens": 4}}'
               '{"fixed": {"exit_layer": 6, "num_draft_tokens": 2}}' '{"auto": {}}' '{"off": {}}')
  local i separator='['
  for ((i = 0; i < 16; ++i)); do
    printf '%s{"text": "%s", "speculation": %s, "sampling": {"seed": %d}, ' \
      "$separator" "${prompts[i % 4]}" "${modes[i / 4]}" "$i"
    printf '"stopping": {"max_new_tokens": %d}}' $((8 + 2 * i))
    separator=', '
  done
  echo ']'
}

load() {  # load METHOD: prints a line; fails unless all calls are OK
  echo "$1: $calls calls, $concurrency at a time"
  "$ghz" --insecure --call "strata.v1.Inference.$1" --total "$calls" --timeout 120s \
    --concurrency "$concurrency" --format json --data "$(requests)" "$server_address" |
    python3 "$here/check_report.py" "$calls"
}

if [[ $# -gt 0 ]]; then
  server_address="$1"
else
  start_server "$here/../../models/demo" --kv-cache-memory 512MiB
fi
load GenerateUnary
load Generate
