#!/usr/bin/env bash
# Pack what a run on a lent GPU needs into .pack/, which git ignores: photographs, evenly over the folders given, and wheels that such a machine lacks.
#
#   tools/gpu_pack.sh MEGABYTES FOLDER...        for example: tools/gpu_pack.sh 45 codec_train_fit photos
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
megabytes=${1:?megabytes of photographs, then folders}
shift
folders=()
for folder in "$@"; do folders+=("$(realpath "$folder")"); done
cd "$(dirname "$0")/.."
rm -rf .pack && mkdir -p .pack/photos .pack/wheels
find -L "${folders[@]}" -type f -size +0 -printf '%s %p\n' | sort -k 2 | awk -v budget="$((megabytes * 1000000))" '
    { size[NR] = $1; total += $1; sub(/^[0-9]+ /, ""); path[NR] = $0 }
    END { share = budget / total
          for (n = 1; n <= NR; n++) { due += size[n] * share; if (due >= size[n] && taken + size[n] <= budget) { due -= size[n]; taken += size[n]; print path[n] } } }' |
    nl -n rz -w 5 -s ' ' | while read -r number path; do cp -L "$path" ".pack/photos/${number}_$(basename "$path")"; done
python3 -m pip download -q --no-deps --only-binary=:all: --python-version "${PYTHON_VERSION:-3.12}" --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d .pack/wheels 'constriction>=0.5,<0.6' pycocotools pytorch-msssim
python3 -m pip wheel -q --no-deps -w .pack/wheels fvcore iopath yacs  # pure Python; no wheel of them is published
du -sh .pack/photos .pack/wheels
