#!/usr/bin/env bash
# The first command on a rented GPU. It takes four minutes at the most. It runs the GPU tests, which
# check exactness against the CPU, measures the codec's speed in batches, and trains for a minute.
# With --rehearse it does the same on this machine's CPU in two minutes where nothing else runs.
#
#   tools/gpu_check.sh [--rehearse] [OPTION...]
#
# The options are those of tools/train_codec.py. The log goes to $OUT (gpu_out if it is not set).
# The status is 1 if a part failed.
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -uo pipefail
cd "$(dirname "$0")/.." && source tools/gpu_common.sh
failed=0
part() {
    echo "== $1"
    shift
    timeout "$@" 2>&1 && return
    local status=$?
    if [ "$status" = 124 ]; then echo "== failed: not done within $1 s"; else echo "== failed: $status"; fi
    failed=1
}
{
    part "tests" "$tests_s" \
        python3 -m pytest -q -m gpu -p no:cacheprovider tests/codecs tests/models tests/training
    part "speed" "$speed_s" \
        python3 tools/bench_batches.py --device "$device" --batches $batches --images "$images"
    part "training" "$training_limit_s" \
        python3 tools/train_codec.py "${training[@]}" "${extra[@]}" --resume "$work/check.state" \
        --out "$work/check.safetensors" --minutes "$(python3 -c "print($training_s / 60)")"
} > >(tee "$OUT/check.log")
wait $!
exit $failed
