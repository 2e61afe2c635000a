#!/usr/bin/env bash
# The Event Hubs job on this machine, without Azure: a local endpoint that speaks
# the protocol of Event Hubs, messages from input/, the pipeline, its table.
set -euo pipefail
cd "$(dirname "$0")/../.."
example=examples/01-event-hubs

cargo build --quiet
cargo build --quiet --package weir-tests --bin event-hubs-local

# A new endpoint begins with no messages, so that an old checkpoint would not fit it.
work=$(mktemp -d)
trap 'kill "${endpoint:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
cp "$example/pipeline.toml" "$work"

cargo run --quiet --package weir-tests --bin event-hubs-local -- \
    --port 0 --hub telemetry=2 --ready-file "$work/connection-string" </dev/null >"$work/endpoint.log" &
endpoint=$!
until [ -s "$work/connection-string" ]; do
    kill -0 "$endpoint" 2>/dev/null || { cat "$work/endpoint.log"; exit 1; }
    sleep 0.1
done
EVENT_HUBS_CONNECTION_STRING=$(cat "$work/connection-string")
export EVENT_HUBS_CONNECTION_STRING

set -x
cargo run --quiet -- send --event-hub telemetry "$example"/input/*.json
cargo run --quiet -- run "$work/pipeline.toml" --show
{ set +x; } 2>/dev/null
