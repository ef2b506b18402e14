#!/usr/bin/env bash
# Serves models/demo, or $MODEL, until interrupted.
#   serve.sh [FLAG...]   flags for strata-server
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

exec build/release/bin/strata-server --model "${MODEL:-models/demo}" \
  --listen "${LISTEN:-127.0.0.1:50051}" --metrics-listen "${METRICS_LISTEN:-127.0.0.1:9464}" "$@"
