#!/usr/bin/env bash
# The second command on a rented GPU. It takes nine and a half minutes: a stable phase for squared
# error, and a decay with saliency and the perceptual metric in the loss. With --rehearse it does the
# same on this machine's CPU in under two minutes.
#
#   tools/gpu_train.sh [--rehearse] [OPTION...]
#
# The options are those of tools/train_codec.py, such as --start FILE. Afterwards $OUT (gpu_out if
# it is not set) holds the finished weights, codec.safetensors, the log, and the state of the stable
# phase in parts of 15 MiB, which are kept every two minutes. "cat state/part* > codec.state" joins
# them, and training goes on from that anywhere.
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -uo pipefail
cd "$(dirname "$0")/.." && source tools/gpu_common.sh
keep() {
    [ -f "$work/codec.state" ] || return 0
    rm -rf "$work/state" && mkdir "$work/state" &&
        split -b 15M --numeric-suffixes "$work/codec.state" "$work/state/part" &&
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
run() {
    python3 tools/train_codec.py "${training[@]}" "${extra[@]}" \
        --resume "$work/codec.state" "$@" 2>&1
}
{
    run --minutes "$stable_minutes" --out "$work/so_far.safetensors" &&
        run --decay-minutes "$decay_minutes" "${finish[@]}" --out "$work/codec.safetensors"
} | tee "$OUT/train.log"
exit "${PIPESTATUS[0]}"
