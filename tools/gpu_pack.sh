#!/usr/bin/env bash
# Packs what a run on a rented GPU needs into .pack/, which git ignores: photographs, evenly over the
# folders given, and wheels that such a machine lacks.
#
#   tools/gpu_pack.sh MEGABYTES FOLDER...      for example: tools/gpu_pack.sh 42 codec_train photos
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
megabytes=${1:?megabytes of photographs, then folders}
shift
folders=()
for folder in "$@"; do
    [ -d "$folder" ] || { echo "gpu_pack.sh: $folder is no folder" >&2; exit 2; }
    folders+=("$(realpath "$folder")")
done
[ ${#folders[@]} -gt 0 ] || { echo "gpu_pack.sh: no folder of photographs was given" >&2; exit 2; }
cd "$(dirname "$0")/.."
rm -rf .pack && mkdir -p .pack/photos .pack/wheels

# chooses files of so many megabytes, as evenly as their sizes allow, in the order of their paths
choose() {
    awk -v budget="$((megabytes * 1000000))" '
        { size[NR] = $1; total += $1; sub(/^[0-9]+ /, ""); path[NR] = $0 }
        END {
            share = budget / total
            for (n = 1; n <= NR; n++) {
                due += size[n] * share
                if (due >= size[n] && taken + size[n] <= budget) {
                    due -= size[n]; taken += size[n]; print path[n]
                }
            }
        }'
}
find -L "${folders[@]}" -type f -size +0 -printf '%s %p\n' | sort -k 2 | choose |
    nl -n rz -w 5 -s ' ' | while read -r number path; do
        cp -L "$path" ".pack/photos/${number}_$(basename "$path")"
    done

platforms=()
for name in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014; do
    platforms+=(--platform "${name}_x86_64")
done
python3 -m pip download -q --no-deps --only-binary=:all: --implementation cp \
    --python-version "${PYTHON_VERSION:-3.12}" "${platforms[@]}" \
    -d .pack/wheels 'constriction>=0.5,<0.6' 'pillow>=11.3' pycocotools pytorch-msssim
# no wheels of these are published; they are pure Python
python3 -m pip wheel -q --no-deps -w .pack/wheels fvcore iopath yacs
du -sh .pack/photos .pack/wheels
