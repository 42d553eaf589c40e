#!/bin/sh
# The real LiteLLM proxy in a virtual environment of its own, $1: its packages, Prisma for its database, and Prisma's
# client made from LiteLLM's schema. Everything comes from package registries; engines that Prisma would download from
# elsewhere are replaced (engine.mjs). $2 is Python, 3.10 or newer.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
venv=$(cd "$1" && pwd)
"$2" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r "$here/requirements.txt"
cp "$here/package.json" "$venv/package.json"
npm install --prefix "$venv" --ignore-scripts --no-audit --no-fund --no-package-lock --silent
schema="$venv/schema.prisma"
# Only this machine's engine is of interest.
grep -v '^ *binaryTargets' "$("$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("litellm").submodule_search_locations[0])')/proxy/schema.prisma" > "$schema"
PATH="$venv/bin:$PATH" GATEWAY_NODE_MODULES="$venv/node_modules" CHECKPOINT_DISABLE=1 \
PRISMA_QUERY_ENGINE_BINARY="$here/engine.mjs" PRISMA_SCHEMA_ENGINE_BINARY="$here/engine.mjs" \
PRISMA_CLI_QUERY_ENGINE_TYPE=binary \
    node "$venv/node_modules/prisma/build/index.js" generate --schema "$schema" >/dev/null
