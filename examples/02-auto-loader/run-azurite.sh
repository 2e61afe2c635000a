#!/usr/bin/env bash
# The job with its files in Azure Blob Storage, on this machine and without Azure:
# Azurite, Microsoft's emulator, holds the files of input/.
set -euo pipefail
cd "$(dirname "$0")/../.."
example=examples/02-auto-loader

cargo build --quiet
cargo build --quiet --package weir-tests --bin azurite-local

# A new emulator begins without files, so that an old checkpoint would not fit it.
work=$(mktemp -d)
mkfifo "$work/alive"
trap 'exec 3>&-; wait; rm -rf "$work"' EXIT
sed 's|^path = "input/".*|path = "az://readings/input"|' "$example/pipeline.toml" >"$work/pipeline.toml"
diff "$example/pipeline.toml" "$work/pipeline.toml" || true

# Azurite is there as long as somebody can write into this pipe.
cargo run --quiet --package weir-tests --bin azurite-local -- \
    --port 0 --container readings --put "$example/input" --ready-file "$work/address" \
    <"$work/alive" >"$work/azurite.log" 2>&1 &
azurite=$!
exec 3>"$work/alive"
until [ -s "$work/address" ]; do
    kill -0 "$azurite" 2>/dev/null || { cat "$work/azurite.log"; exit 1; }
    sleep 0.1
done
export AZURE_STORAGE_USE_EMULATOR=true
AZURITE_BLOB_STORAGE_URL=$(cat "$work/address")
export AZURITE_BLOB_STORAGE_URL

set -x
cargo run --quiet -- run "$work/pipeline.toml" --show
cargo run --quiet -- dead-letters "$work/pipeline.toml"
{ set +x; } 2>/dev/null
