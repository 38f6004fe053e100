#!/usr/bin/env python3
"""Train and evaluate stock Detectron2 models on compressed pictures.

tools/train_net.py --config-file COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml \\
    --codec-config detectron_configs/jpeg.yaml --num-gpus 8
tools/train_net.py ... --eval-only MODEL.WEIGHTS model_final.pth SALCOMPRESS.SWEEP \\
    "['none', 'jpeg:q=10,30,50']"
"""

from salcompress.cli.main import errors_in_one_line

if __name__ == "__main__":
    with errors_in_one_line("tools/train_net.py"):  # which says how to install Detectron2
        from salcompress.detectron.processes import launch_command
        from salcompress.detectron.yaml_engine import argument_parser, device_of, main

        launch_command(argument_parser(__doc__).parse_args(), device_of, main)
