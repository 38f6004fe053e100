#!/usr/bin/env python3
"""Bits that the encoder's search saves at equal distance of a detector's features: for example
tools/refine_for_detector.py --images val2017 --detector file.py:factory --limit 20
"""

import argparse

import numpy as np
from tqdm import tqdm

from salcompress.cli.main import errors_in_one_line
from salcompress.codecs.salient import SalientCodec
from salcompress.detectors.features import load_features
from salcompress.evaluation import detector_refinement as refinement
from salcompress.image import read_image
from salcompress.reporting.tables import markdown_table
from salcompress.training.photograph_files import find_images

parser = argparse.ArgumentParser(description=__doc__)
add = parser.add_argument
add("--images", required=True, help="an image, or a folder of images")
add("--detector", required=True, help="as for salcompress evaluate")
add("--weights", help="of the codec, as salient:weights= has them")
add("--limit", type=int, help="the first so many pictures by name")
add("--crop", type=int, help="side in pixels of the middle that is taken (default: whole)")
add("--scale", type=float, help="by which the detector sees pictures resized (default: 1)")
add("--effort", type=int, default=150, help="steps of the search (default: 150)")
add("--quality", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5], help="0 to 1")
if __name__ == "__main__":
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        features = load_features(args.detector, args.scale)
        codec = SalientCodec(saliency="uniform", weights=args.weights)
        paths = find_images([args.images])[: args.limit]
        images = (refinement.middle(read_image(path), args.crop) for path in tqdm(paths))
        points = refinement.measure_refinement(codec, images, features, args.quality, args.effort)
        means = np.exp(np.log(points).mean(0)).round(4).astype(str)
        print(markdown_table(refinement.RefinedPoint._fields, means))
        text = "bits at equal distance: {:+.1f} % [{:+.1f}, {:+.1f}]"
        print(text.format(*refinement.bits_saved(points)))
