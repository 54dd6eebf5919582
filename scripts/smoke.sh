#!/bin/sh
# The vision proof (examples/vision_proof): a small Qwen2.5-VL from random weights learns by SFT and GRPO to rank pages that must be seen.
# usage: scripts/smoke.sh [SCALE]     SCALE 1 is the whole proof, 0.1 a tenth of it; OUT names another folder than runs/smoke;
#        SFT and GRPO hold further settings of a stage (--set …); CHECK=1 fails when a goal does not hold
set -eu
cd "$(dirname "$0")/.."
SCALE=${1:-1}
OUT=${OUT:-runs/smoke}
BIN=${BIN:-.venv/bin}
rm -rf "$OUT"
mkdir -p "$OUT"
started=$(date +%s)

proof() { PYTHONPATH="examples${PYTHONPATH:+:$PYTHONPATH}" "$BIN/python" -m vision_proof "$@"; }
own="--set data.corpus=$OUT/corpus"
measure() { # model, split, folder, further options
    of=$1 split=$2 to=$3
    shift 3
    "$BIN/mmr5" evaluate "$OUT/corpus" --split "$split" --retriever none --candidates 5 --ocr never --method reason --view image \
        --max-new-tokens 96 --batch 25 --model "$OUT/$of" --out "$OUT/$to" "$@" >/dev/null
}

proof draw --out "$OUT" --scale "$SCALE"
"$BIN/mmr5" train sft examples/vision_proof/sft.toml $own --set model.base="$OUT/base" --set data.rows="$OUT/sft.jsonl" --set run.out="$OUT/sft" ${SFT:-}
proof half --out "$OUT"
"$BIN/mmr5" train grpo examples/vision_proof/grpo.toml $own --set model.base="$OUT/half" --set data.rows="$OUT/grpo.jsonl" --set run.out="$OUT/grpo" ${GRPO:-}
measure sft test sft-test
measure half test half-test
measure grpo test grpo-test
measure half test half-sampled --temperature 1
measure grpo test grpo-sampled --temperature 1
measure sft axis axis-test
seconds=$(($(date +%s) - started))
proof summary --out "$OUT" --seconds "$seconds" ${CHECK:+--check}
