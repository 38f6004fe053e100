"""Training of the learned perceptual metric, and its evaluation.

``versions`` makes versions of a picture, ``compressed`` by codecs (with ``coarse_chroma``) and
``distortions`` by chance. ``consensus`` labels them by published metrics (with ``ssimulacra2``),
and ``groups`` keeps both. ``judgements`` reads labels of people. ``batches`` and
``train`` train on either, and ``outcome`` writes the weights. ``evaluation``, ``ladders`` and
``correlation`` measure how well the metric agrees with labels, and ``report`` prints that.
``command`` is what ``tools/train_metric.py`` runs.
"""
