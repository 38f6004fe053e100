#!/usr/bin/env python3
"""What codecs cost a detector in its own losses and features, on labelled pictures, by real
streams. Detector, pictures and mapper are those of a LazyConfig whose model has the codec in it,
with KEY=VALUE options over them.

tools/detector_losses.py --config-file detectron_configs/external_task_aware_lazy.py \\
    --codec salient:saliency=uniform,q=0,0.1,0.2 --codec jpeg:q=10,20 \\
    model.detector.path=model.py dataloader.train.dataset.json_file=instances.json
"""

import argparse

from salcompress.cli.main import errors_in_one_line
from salcompress.codecs import load_codecs
from salcompress.reporting.tables import markdown_table

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
add = parser.add_argument
add("--config-file", required=True, metavar="FILE", help="LazyConfig of stage model")
add("--codec", required=True, action="append", metavar="SPEC", help="may be repeated")
add("--passes", type=int, default=1, help="how often each picture is cropped (default: 1)")
add("opts", nargs="*", metavar="KEY=VALUE", help="options of the config")
if __name__ == "__main__":
    args = parser.parse_intermixed_args()
    with errors_in_one_line(parser.prog):
        from salcompress.detectron.measured_losses import measure_config

        codecs = load_codecs(*args.codec)
        rows = measure_config(args.config_file, args.opts, codecs, args.passes)
        print(markdown_table(["codec", "bpp", "detection loss", "feature distance"], rows))
