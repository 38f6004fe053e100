#!/usr/bin/env python3
"""AP against bpp of the learned codec where the annotated objects themselves steer its bits. The
rows go into a folder of results of salcompress evaluate.

python tools/evaluate_object_saliency.py --images val2017 --annotations instances_val2017.json \\
    --detector file.py:factory --out results
"""

import argparse
from pathlib import Path

from salcompress.cli.main import errors_in_one_line
from salcompress.codecs.salient import SalientCodec
from salcompress.data.coco import load_dataset
from salcompress.detectors import load_detector
from salcompress.evaluation.evaluate import evaluate
from salcompress.reporting.tables import results_table
from salcompress.saliency.objects import ObjectSaliency

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
add = parser.add_argument
add("--images", type=Path, required=True, help="folder of the images")
add("--annotations", type=Path, required=True, help="COCO instances file")
add("--detector", required=True, help="as for salcompress evaluate")
add("--out", type=Path, required=True, help="folder of the results")
add("--quality", type=float, nargs="+", default=[0.1, 0.2, 0.3, 0.4, 0.5], help="from 0 to 1")
add("--strength", type=float, default=12, help="levels between objects and the rest (default: 12)")
add("--masks", action="store_true", help="steer by masks in place of boxes")
add("--workers", type=int, default=1, help="processes (default: 1)")
if __name__ == "__main__":
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        dataset = load_dataset(args.images, args.annotations)
        detector = load_detector(args.detector, dataset.category_ids)
        saliency = ObjectSaliency(dataset, boxes=not args.masks)
        codecs = [
            SalientCodec(q, saliency=saliency, saliency_strength=args.strength)
            for q in args.quality
        ]
        rows = evaluate(
            dataset, detector, codecs, args.out, workers=args.workers, show_progress=True
        )
        print(results_table(rows))
