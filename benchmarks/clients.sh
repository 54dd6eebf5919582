#!/bin/sh
# Calls a server by real clients (benchmarks/clients.py), each in the version that is pinned here.
#
#   sh benchmarks/clients.sh [--json FILE]
#
# Makes build/clients with the clients, starts a server with the default model on PORT (8765), and stops it again. SOURCES=/other/src
# calls another version of the sources.
set -eu
cd "$(dirname "$0")/.."
port=${PORT:-8765}
test -x build/clients/bin/python || python3 -m venv build/clients
build/clients/bin/python -m pip install --quiet -r benchmarks/clients.txt
# apart, because it asks for httpx below 0.28 and LiteLLM for 0.28: it works with either
build/clients/bin/python -m pip install --quiet --no-deps infinity-client==0.0.78 2>/dev/null
PYTHONPATH=${SOURCES:-src} MMR5_API_KEYS=key .venv/bin/python -m mmr5.cli.main serve --retriever bm25 \
    --port "$port" --max-query-chars 400 --max-document-chars 2000 >build/clients/server.log 2>&1 &
server=$!
trap 'kill $server' EXIT
until build/clients/bin/python -c "import httpx; httpx.get('http://127.0.0.1:$port/ready').raise_for_status()" 2>/dev/null; do
    kill -0 $server || { cat build/clients/server.log; exit 1; }
    sleep 0.5
done
build/clients/bin/python benchmarks/clients.py "http://127.0.0.1:$port" --key key "$@"
