#!/bin/sh
# The main job with the embedded default on the example document: two questions, and an HTML report of the second.
set -eu
bin=${BIN:-.venv/bin}
echo '$ mmr5 rerank "What did the keeper promise the man who raised the fog bell?" examples/harbour-report.pdf --top-n 3'
"$bin/mmr5" rerank "What did the keeper promise the man who raised the fog bell?" examples/harbour-report.pdf --top-n 3
echo '$ mmr5 rerank "How many crane drivers work in the port?" examples/harbour-report.pdf --top-n 3 --html harbour-report.html'
"$bin/mmr5" rerank "How many crane drivers work in the port?" examples/harbour-report.pdf --top-n 3 --html harbour-report.html
