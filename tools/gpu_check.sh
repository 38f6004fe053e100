#!/usr/bin/env bash
# First command on a lent GPU, four minutes at the most: the GPU tests, exactness against the CPU among them, the codec's speed in
# batches, and a minute of training. With --rehearse the same on this machine's CPU in under two minutes.
#
#   tools/gpu_check.sh [--rehearse] [OPTION...]  options are tools/train_codec.py's; the log goes to $OUT (gpu_out if unset)
#
# Ends with 1 if a part failed.
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -uo pipefail
cd "$(dirname "$0")/.." && source tools/gpu_common.sh
failed=0
part() { echo "== $1"; shift; timeout "$@" 2>&1 || { echo "== failed: $?"; failed=1; }; }
{
    part "tests" "$tests_s" python3 -m pytest -q -m gpu -p no:cacheprovider tests/codecs tests/models tests/training
    part "speed" "$speed_s" python3 tools/bench_batches.py --device "$device" --batches $batches --images "$images"
    part "training" "$training_limit_s" python3 tools/train_codec.py "${training[@]}" "${extra[@]}" --resume "$work/check.state" \
        --out "$work/check.safetensors" --minutes "$(python3 -c "print($training_s / 60)")"
} > >(tee "$OUT/check.log")
wait $!
exit $failed
