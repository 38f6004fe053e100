"""Training of the saliency network, and its evaluation.

``pairs`` reads images with masks, ``augmentation`` and ``batches`` make samples of them, ``loss``,
``start`` and ``train`` train, and ``folds`` scores what training never saw. ``steering`` measures
what the codec does with saliency. ``command`` is what ``tools/train_saliency.py`` runs.
"""
