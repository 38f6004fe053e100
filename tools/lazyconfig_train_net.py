#!/usr/bin/env python3
"""Train and evaluate Detectron2's LazyConfigs on compressed pictures.

tools/lazyconfig_train_net.py --config-file detectron_configs/random_compression_lazy.py \\
    --num-gpus 8
tools/lazyconfig_train_net.py --config-file ... --eval-only \\
    train.init_checkpoint=model_final.pth "dataloader.test.mapper.codec='webp:q=20'"
"""

from salcompress.cli.main import errors_in_one_line

if __name__ == "__main__":
    with errors_in_one_line(
        "tools/lazyconfig_train_net.py"
    ):  # which says how to install Detectron2
        from detectron2.engine import default_argument_parser

        from salcompress.detectron.lazy_engine import device_of, main
        from salcompress.detectron.processes import launch_command

        launch_command(default_argument_parser(__doc__).parse_args(), device_of, main)
