#!/bin/sh
# Train candidates for the default model `mini` and its language model `mini-lm` from nothing.
# Every step is a command that can be killed and run again; `mini` and `mini-lm` are unchanged.
# usage: scripts/reproduce-mini.sh [FOLDER]      FOLDER is runs/mini by default
set -eu
cd "$(dirname "$0")/.."
OUT=${1:-runs/mini}
BIN=${BIN:-.venv/bin}
mkdir -p "$OUT/all"
# Times are of two cores with nothing beside.

# `mini`: late interaction. Documents are read and encoded once (40 to 65 minutes without AMX; eight with it, once they are read); a training takes three.
"$BIN/mmr5" data fetch opendocs                 # a minute each
"$BIN/mmr5" data fetch opendocs-more
"$BIN/mmr5" data fetch opendocs-multilingual
STATES="$OUT/states"
if [ ! -f "$OUT/late/model.safetensors" ]; then
    RESUME=""; [ -f "$OUT/late/provenance.json" ] && RESUME=--resume
    "$BIN/mmr5" train late mini/late --set "run.out=\"$OUT/late\"" --set "data.states=\"$STATES\"" $RESUME
fi
for SEED in 1 2 3; do    # fifteen minutes each; results/README.md: seed 1 on five folds, 2 on two, 3 on one
    "$BIN/python" scripts/late_folds.py train mini/late --out "$OUT/folds-$SEED" --states "$STATES" --set optim.seed=$SEED
done
"$BIN/python" scripts/late_folds.py report "$OUT/folds-1" "$OUT/folds-2" "$OUT/folds-3" --json "$OUT/folds.json"
"$BIN/python" scripts/fit_evidence.py "$OUT/folds-1" --states "$OUT/states" --json "$OUT/evidence.json"  # --write ships the weights
"$BIN/python" scripts/calibrate_mini.py "$OUT/folds-1" --out "$OUT/calibration" --recipe "$OUT/late/recipe.json" --none "$OUT/none.json"  # every question, seven ways

# stage two on orders, which does not ship: it adds nothing to the order (results/README.md). Four minutes a fold
for WAY in both verdicts refusal rl; do
    "$BIN/python" scripts/order_folds.py train $WAY --stage-one "$OUT/folds-1" --states "$STATES" --out "$OUT/order/$WAY"
done
"$BIN/python" scripts/order_folds.py report "$OUT/order/both" "$OUT/order/verdicts" "$OUT/order/refusal" "$OUT/order/rl" \
    --stage-one "$OUT/folds-1" --states "$STATES" --json "$OUT/order.json"
"$BIN/python" scripts/refusal_signals.py "$OUT/folds-1" --heads "$OUT/folds-1" --states "$STATES" --json "$OUT/refusal-signals.json"  # two minutes

# `mini-lm`: SFT, then GRPO (an hour and twenty minutes of one core)
resume() { [ -f "$1/provenance.json" ] && echo --resume || true; }

"$BIN/mmr5" data candidates opendocs --split train --out "$OUT/all/lists.jsonl"
"$BIN/mmr5" data reason "$OUT/all/lists.jsonl" --corpus opendocs --out "$OUT/all/notes.jsonl"
"$BIN/mmr5" data rows "$OUT/all/lists.jsonl" --notes "$OUT/all/notes.jsonl" --kind pointwise --view text --out "$OUT/all/pointwise.jsonl"
"$BIN/mmr5" data rows "$OUT/all/lists.jsonl" --kind grpo --method pointwise --view text --out "$OUT/all/grpo.jsonl"

# twelve training documents are kept apart: weights are chosen on them
"$BIN/python" scripts/mini_rows.py "$OUT/all/pointwise.jsonl" --held 12 --seed 7 --out "$OUT"
"$BIN/python" scripts/mini_rows.py "$OUT/all/grpo.jsonl" --held 12 --seed 7 --out "$OUT"

"$BIN/mmr5" train sft mini/sft --set data.rows="$OUT/pointwise.jsonl" --set run.out="$OUT/sft" $(resume "$OUT/sft")
"$BIN/mmr5" train grpo mini/grpo --set data.rows="$OUT/grpo.jsonl" --set model.adapter="$OUT/sft" --set run.out="$OUT/grpo" $(resume "$OUT/grpo")

"$BIN/python" scripts/stage2_reward.py "$OUT/sft" "$OUT/grpo" --rows "$OUT/all/grpo.jsonl" --documents "$OUT/held.txt" --out "$OUT/rewards.json"
"$BIN/python" scripts/tune_mini.py --model "$OUT/grpo" --documents "$OUT/held.txt" --out "$OUT/tune"
# with the weights that tune/summary.json names best; then: mmr5 evaluate opendocs --split dev --model FOLDER/packed --out …
"$BIN/python" scripts/pack_mini.py --sft "$OUT/sft" --grpo "$OUT/grpo" --page-tokens 200 --fusion "${FUSION:-1}" --other-fusion 0 \
    --question-weight "${QUESTION:-0}" --notes 0 --out "$OUT/packed"
