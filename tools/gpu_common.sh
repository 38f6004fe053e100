# Settings of gpu_check.sh and gpu_train.sh, which read this file. They are for the GPU, or with
# --rehearse for the CPU and little of everything.
export OUT=${OUT:-gpu_out} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d) && mkdir -p "$OUT"
export PYTHONPATH=$PWD
if compgen -G ".pack/wheels/*.whl" > /dev/null && [ "${1:-}" != --rehearse ]; then
    python3 -m pip install -q --no-index --no-deps --target "$work/site" .pack/wheels/*.whl
    PYTHONPATH=$PWD:$work/site
fi
if [ "${1:-}" = --rehearse ]; then
    shift
    export OMP_NUM_THREADS=1  # what runs beside it would slow two threads tenfold
    device=cpu
    tests_s=60 speed_s=120 training_s=6 training_limit_s=100  # seconds
    batches="1 2" images=2
    keep_s=5 stable_minutes=0.1 decay_minutes=0.1
    python3 - "$work/scenes" <<'PYTHON'
import sys
from salcompress.data.scenes import write_scenes

write_scenes(sys.argv[1], 8, 5, 256, 320)
PYTHON
    training=(--data "$work/scenes/images" --config small --batch 2 --crop 64 --large-crop 128
        --save-every 5)
    finish=(--saliency-weight 1.5)
else
    device=cuda
    tests_s=80 speed_s=70 training_s=15 training_limit_s=90  # seconds; compiling takes one minute
    batches="1 4 16" images=64
    keep_s=120 stable_minutes=5.1 decay_minutes=2.2
    # one size of crops, so that the networks are compiled once
    training=(--data .pack/photos --config large --batch 16 --crop 256 --large-crop 256
        --save-every 100000)
    finish=(--saliency-weight 1.5 --perceptual-weight 200)
fi
training+=(--device "$device")
extra=("$@")
