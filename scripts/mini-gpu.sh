#!/bin/sh
# Lists with reasons by `mini`'s language model, SFT then GRPO, as the paper trains, in MINUTES (12) of one GPU, on the training
# documents of the three corpora but twelve. Each stage ends at its steps or when its share of the time is over, and the next begins
# from its last checkpoint. It can be killed and run again.
# usage: scripts/mini-gpu.sh prepare [FOLDER]   the rows, without a GPU (three minutes of one core, once the pages are
#                                               read); FOLDER is runs/mini by default
#        scripts/mini-gpu.sh [FOLDER]           the training; TIMES (20) is how many times the steps of the shipped configs, SFT and GRPO
#                                               hold further settings of a stage (--set …)
set -eu
cd "$(dirname "$0")/.."
CORPORA=opendocs,opendocs-more,opendocs-multilingual
BIN=${BIN:-.venv/bin}
PREPARE=""; [ "${1:-}" = prepare ] && { PREPARE=yes; shift; }
OUT=${1:-runs/mini}/lists
SECONDS_GIVEN=$((${MINUTES:-12} * 60))
TIMES=${TIMES:-20}

if [ -n "$PREPARE" ]; then
    mkdir -p "$OUT/all"
    "$BIN/mmr5" data candidates "$CORPORA" --split train --shuffle --out "$OUT/all/lists.jsonl"
    "$BIN/mmr5" data reason "$OUT/all/lists.jsonl" --corpus "$CORPORA" --out "$OUT/all/notes.jsonl"
    "$BIN/mmr5" data rows "$OUT/all/lists.jsonl" --notes "$OUT/all/notes.jsonl" --view text --out "$OUT/all/sft.jsonl"
    "$BIN/mmr5" data rows "$OUT/all/lists.jsonl" --kind grpo --view text --out "$OUT/all/grpo.jsonl"
    for rows in sft grpo; do    # twelve documents are kept apart, named in held.txt
        "$BIN/python" scripts/mini_rows.py "$OUT/all/$rows.jsonl" --held 12 --seed 7 --out "$OUT"
    done
    exit
fi

last() { # the adapter of a stage: its end, or its last checkpoint
    if [ -f "$1/adapter_model.safetensors" ]; then echo "$1"; else
        find "$1" -maxdepth 1 -name 'checkpoint-*' | sort -V | tail -1 | grep . || { echo "$1 has no checkpoint: give more MINUTES" >&2; return 1; }
    fi
}

stage() { # verb, config, seconds, further settings
    verb=$1; config=$2; seconds=$3; shift 3
    RESUME=""; [ -f "$OUT/$verb/provenance.json" ] && RESUME=--resume
    [ -f "$OUT/$verb/adapter_model.safetensors" ] && return
    CODE=0
    timeout --signal=INT --kill-after=30 "$seconds" "$BIN/mmr5" train "$verb" "$config" --set data.corpus="$CORPORA" --set data.rows="$OUT/$verb.jsonl" \
        --set run.out="$OUT/$verb" --set recipe.method=reason "$@" $RESUME || CODE=$?
    case $CODE in 0) ;; 124|137) echo "$verb: its time is over" >&2 ;; *) exit $CODE ;; esac
}

stage sft mini/listwise $((SECONDS_GIVEN * 6 / 10)) --set optim.max_steps=$((TIMES * 60)) ${SFT:-}
START=$(last "$OUT/sft")
stage grpo mini/listwise-grpo $((SECONDS_GIVEN * 4 / 10)) --set optim.max_steps=$((TIMES * 8)) --set model.adapter="$START" ${GRPO:-}
echo "stage one: $START; both: $(last "$OUT/grpo")"
