"""Training of all networks: the codec, the perceptual metric, the saliency network, the detector.

``loop`` trains whatever it is given, under ``settings`` and a ``schedule``, and prints a ``log``.
``state`` and ``averages`` are what it keeps, ``cuda_graphs`` makes its steps faster on CUDA, and
``precision`` measures whether bfloat16 does so on a CPU. ``photographs`` and ``photograph_files``
hold what the codec is trained on, ``losses`` has the terms that other networks give, and
``differentiable_codec`` puts the codec in front of a detector. ``tables`` writes tables.
"""
