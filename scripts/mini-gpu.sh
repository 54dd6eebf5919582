#!/bin/sh
# Both stages of `mini` with a hundred times the steps, for a GPU: listwise `reason` first, as the paper trains, then `pointwise`.
# It needs the rows of scripts/reproduce-mini.sh, whose commands before the first training make them; it can be killed and run again.
# usage: scripts/mini-gpu.sh [FOLDER]      TIMES is how many times the steps of the shipped configs, 100 by default; SFT and GRPO hold
#        further settings of a stage (--set …); ONLY=reason or ONLY=pointwise leaves the other out
set -eu
cd "$(dirname "$0")/.."
OUT=${1:-runs/mini}
BIN=${BIN:-.venv/bin}
TIMES=${TIMES:-100}
resume() { [ -f "$1/provenance.json" ] && echo --resume || true; }

stages() { # name, config and its steps of stage 1, config and its steps of stage 2, rows of both
    "$BIN/mmr5" train sft "$2" --set data.rows="$6" --set run.out="$OUT/$1-gpu" --set optim.max_steps=$((TIMES * $3)) \
        --set recipe.method="$8" ${SFT:-} $(resume "$OUT/$1-gpu")
    "$BIN/mmr5" train grpo "$4" --set data.rows="$7" --set run.out="$OUT/$1-gpu-grpo" --set optim.max_steps=$((TIMES * $5)) \
        --set model.adapter="$OUT/$1-gpu" ${GRPO:-} $(resume "$OUT/$1-gpu-grpo")
}

if [ "${ONLY:-reason}" = reason ]; then
    "$BIN/mmr5" data rows "$OUT/all/lists.jsonl" --notes "$OUT/all/notes.jsonl" --view text --out "$OUT/all/reason.jsonl"
    "$BIN/mmr5" data rows "$OUT/all/lists.jsonl" --kind grpo --view text --out "$OUT/all/reason-grpo.jsonl"
    for rows in reason reason-grpo; do
        "$BIN/python" scripts/mini_rows.py "$OUT/all/$rows.jsonl" --held 12 --seed 7 --out "$OUT"
    done
    stages reason mini/listwise 60 mini/listwise-grpo 8 "$OUT/reason.jsonl" "$OUT/reason-grpo.jsonl" reason
fi
if [ "${ONLY:-pointwise}" = pointwise ]; then
    stages pointwise mini/sft 200 mini/grpo 8 "$OUT/pointwise.jsonl" "$OUT/grpo.jsonl" pointwise
fi
