"""Scenes that a detector is trained on agree with their masks, and resume where they were."""

import torch

from salcompress.training.scene_detector import SceneTargets, scene_batches


def test_scene_targets_agree_with_their_masks():
    image, target = SceneTargets(seed=1, first=0, length=3)[1]
    assert image.shape == (3, 240, 320) and image.min() >= 0 and image.max() <= 1
    for box, mask in zip(target["boxes"], target["masks"]):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_batches_resume_where_they_were():
    whole = [image for batch in scene_batches(1, 0, 3, 2, 0) for image, _ in batch]
    tail = [image for batch in scene_batches(1, 2, 3, 2, 0) for image, _ in batch]
    assert len(whole) == 6 and all(torch.equal(a, b) for a, b in zip(whole[4:], tail))
