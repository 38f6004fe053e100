#!/usr/bin/env bash
# Second command on a lent GPU, nine minutes: a stable phase and a decay. With --rehearse the same on this machine's CPU in under two minutes.
#
#   tools/gpu_train.sh [--rehearse] [OPTION...]  options are tools/train_codec.py's, such as --start FILE
#
# $OUT (gpu_out if unset) then holds codec.safetensors, finished weights, the log, and the state of the stable phase in parts of 15 MiB,
# written every two minutes: cat codec.state.part* > codec.state joins them, and training goes on from that anywhere.
set -uo pipefail
cd "$(dirname "$0")/.." && source tools/gpu_common.sh
keep() {
    [ -f "$work/codec.state" ] || return 0
    rm -rf "$work/parts" && mkdir "$work/parts" && split -b 15M --numeric-suffixes "$work/codec.state" "$work/parts/codec.state.part" &&
        mv -f "$work"/parts/* "$OUT"
    cp "$work"/codec.safetensors "$OUT" 2>/dev/null || true
}
(while sleep "$keep_s"; do keep; done) & keeper=$!
trap 'kill "$keeper" 2>/dev/null; keep' EXIT
run() { python3 tools/train_codec.py "${training[@]}" --resume "$work/codec.state" --out "$work/codec.safetensors" "$@" 2>&1; }
{ run "${extra[@]}" --minutes "$stable_minutes" && run "${extra[@]}" --decay-minutes "$decay_minutes"; } | tee "$OUT/train.log"
