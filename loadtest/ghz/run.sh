#!/usr/bin/env bash
# Load-tests a real server with ghz, by reflection. Every call must end with OK.
#   run.sh [KIND...] [HOST:PORT]   starts a server of models/demo, or uses the one there
# KIND names a configuration beside this file, which are to be read and changed:
#   unary, streaming   200 calls of GenerateUnary or Generate, 16 at a time; what runs by default
#   ramp               Generate, from 2 to 30 calls a second, one more each second
#   soak               Generate, 5 calls a second for half an hour
# $DURATION (as in 10s) ends ramp and soak sooner, or later.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../../scripts/server_lifetime.sh"

kinds=()
for word in "$@"; do
  if [[ "$word" == *:* ]]; then
    server_address="$word"
  elif [[ -e "$here/$word.json" && "$word" != requests ]]; then
    kinds+=("$word")
  else
    echo "run.sh: '$word' is neither a kind of load (unary, streaming, ramp, soak) nor HOST:PORT" >&2
    exit 2
  fi
done
[[ ${#kinds[@]} -gt 0 ]] || kinds=(unary streaming)
ghz="$("$here/install.sh")"
[[ -n "$server_address" ]] || start_server "$here/../../models/demo" --kv-cache-memory 512MiB

# Requests differ in prompt, exit layer and draft length, so that batches mix those which draft at
# different layers with some that do not draft.
for kind in "${kinds[@]}"; do
  echo "$kind:"
  options=()
  if [[ "$kind" == ramp || "$kind" == soak ]] && [[ -n "${DURATION:-}" ]]; then
    options+=(--duration "$DURATION")
  fi
  "$ghz" --config "$here/$kind.json" --data-file "$here/requests.json" --format json \
    "${options[@]}" "$server_address" | python3 "$here/check_report.py" "$here/$kind.json"
done
