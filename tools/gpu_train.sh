#!/usr/bin/env bash
# Second command on a lent GPU, nine minutes: a stable phase and a decay. With --rehearse the same on this machine's CPU in under two minutes.
#
#   tools/gpu_train.sh [--rehearse] [OPTION...]  options are tools/train_codec.py's, such as --start FILE
#
# $OUT (gpu_out if unset) then holds codec.safetensors, finished weights, the log, and the state of the stable phase in parts of 15 MiB,
# kept every two minutes: cat state/part* > codec.state joins them, and training goes on from that anywhere.
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -uo pipefail
cd "$(dirname "$0")/.." && source tools/gpu_common.sh
keep() {
    [ -f "$work/codec.state" ] || return 0
    rm -rf "$work/state" && mkdir "$work/state" && split -b 15M --numeric-suffixes "$work/codec.state" "$work/state/part" &&
        rm -rf "$OUT/state" && mv "$work/state" "$OUT/state"
    cp "$work"/*.safetensors "$OUT" 2>/dev/null || true
}
(while sleep "$keep_s"; do keep; done) > /dev/null 2>&1 & keeper=$!
finish() {
    pkill -P "$keeper" sleep
    kill "$keeper" 2> /dev/null
    wait "$keeper" 2> /dev/null
    keep
}
trap finish EXIT
run() { python3 tools/train_codec.py "${training[@]}" "${extra[@]}" --resume "$work/codec.state" "$@" 2>&1; }
{ run --minutes "$stable_minutes" --out "$work/so_far.safetensors" && run --decay-minutes "$decay_minutes" --out "$work/codec.safetensors"; } |
    tee "$OUT/train.log"
exit "${PIPESTATUS[0]}"
