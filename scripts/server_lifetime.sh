# Starts one strata-server for a script and stops it when the script ends.
# To be sourced.  Uses build/release, or $STRATA_BIN.

strata_bin="${STRATA_BIN:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/build/release/bin}"
server_pid=""
server_folder=""
server_address=""
metrics_address=""

stop_server() {
  if [[ -n "$server_pid" ]] && kill -0 "$server_pid" 2>/dev/null; then
    kill -TERM "$server_pid"
    local i
    for ((i = 0; i < 100; ++i)); do
      kill -0 "$server_pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
  fi
  server_pid=""
  if [[ -n "$server_folder" ]]; then rm -rf "$server_folder"; fi
  server_folder=""
}

# start_server MODEL_DIR [FLAG...]: returns when the server is ready, with
# server_address and metrics_address set. Shows its log and fails if it does
# not get ready within 60 seconds.
start_server() {
  local model="$1" i
  shift
  server_folder="$(mktemp -d)"
  trap stop_server EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  "$strata_bin/strata-server" --model "$model" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 \
    --port-file "$server_folder/ports" "$@" >"$server_folder/log" 2>&1 </dev/null &
  server_pid=$!
  for ((i = 0; i < 600; ++i)); do
    [[ -e "$server_folder/ports" ]] && break
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
  done
  if [[ ! -e "$server_folder/ports" ]]; then
    echo "strata-server did not get ready. Its log:" >&2
    cat "$server_folder/log" >&2
    return 1
  fi
  server_address="$(awk '$1 == "grpc" {print $2}' "$server_folder/ports")"
  metrics_address="$(awk '$1 == "metrics" {print $2}' "$server_folder/ports")"
}
