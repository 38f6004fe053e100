"""The pictures on which a setting loses most of what the detector finds in them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from salcompress.evaluation.annotated_objects import AnnotatedObjects
from salcompress.evaluation.rate_point import RatePoint
from salcompress.reporting.seen import Seen, SeenImage
from salcompress.reporting.viewer import Viewer

LONGEST = 25
"""Pictures that a list holds at most."""


class Loss(NamedTuple):
    """What a setting loses in one picture."""

    image_id: int | str
    file_name: str
    before: int
    """Objects that count: those found without compression, or all where that was not measured."""
    lost: Mapping[str, int]
    """How many of them were not found, by category."""
    bpp: float
    psnr: float | None

    @property
    def num_lost(self) -> int:
        return sum(self.lost.values())


class SettingLosses(NamedTuple):
    """All that a setting loses."""

    worst: tuple[Loss, ...]
    """Pictures with a loss, the worst first, ``LONGEST`` at most."""
    num_lost: int
    """Objects lost in all pictures."""
    before: int
    """Objects that count, in all pictures."""
    num_pictures: int
    """Pictures with a loss."""


def reference_of(rows: Sequence[RatePoint]) -> RatePoint | None:
    """The row of the uncompressed pictures; None where they were not measured."""
    return next((row for row in rows if row.codec == "none"), None)


def losses(
    rows: Sequence[RatePoint], seen: Seen, objects: AnnotatedObjects
) -> dict[str, SettingLosses]:
    """What each setting loses, by the fingerprint of its row."""
    reference = reference_of(rows)
    before = {} if reference is None else seen[reference.fingerprint]
    return {
        row.fingerprint: _of_setting(
            [
                _loss(image_id, image, before.get(image_id), objects)
                for image_id, image in seen[row.fingerprint].items()
            ]
        )
        for row in rows
        if row is not reference
    }


def _of_setting(pictures: Sequence[Loss]) -> SettingLosses:
    with_loss = [loss for loss in pictures if loss.num_lost]
    # of those that lose as many, the one that had fewer is the worse
    ranked = sorted(with_loss, key=lambda loss: (-loss.num_lost, loss.before, loss.file_name))
    return SettingLosses(
        tuple(ranked[:LONGEST]),
        sum(loss.num_lost for loss in with_loss),
        sum(loss.before for loss in pictures),
        len(with_loss),
    )


def _loss(
    image_id: int | str, image: SeenImage, before: SeenImage | None, objects: AnnotatedObjects
) -> Loss:
    there = objects.by_image.get(image_id, [])
    counted = (
        {k for k, found in enumerate(there) if not found["iscrowd"]}
        if before is None
        else before.finds.hits
    )
    missing = counted - image.finds.hits
    names = [objects.categories.get(there[k]["category_id"], "?") for k in sorted(missing)]
    record = image.record
    return Loss(
        image_id,
        record.file_name,
        len(counted),
        dict(Counter(names).most_common()),
        (record.num_bits or 0) / (record.height * record.width),
        record.psnr,
    )


def losses_data(
    rows: Sequence[RatePoint], found: Mapping[str, SettingLosses], viewer: Viewer | None
) -> list[dict[str, Any]]:
    """The lists as ``page/losses.js`` reads them; all of it can be json.

    Args:
        rows: Settings of the page.
        found: See :func:`losses`.
        viewer: Pictures of the page, which the lists point to.
    """
    shown = {} if viewer is None else {i: k for k, i in enumerate(viewer.image_ids)}
    return [
        {
            "row": k,
            "lost": found[row.fingerprint].num_lost,
            "before": found[row.fingerprint].before,
            "pictures": found[row.fingerprint].num_pictures,
            "worst": [
                {
                    "name": loss.file_name,
                    "image": shown.get(loss.image_id),
                    "before": loss.before,
                    "lost": loss.num_lost,
                    "what": loss.lost,
                    "bpp": loss.bpp,
                    "psnr": loss.psnr,
                }
                for loss in found[row.fingerprint].worst
            ],
        }
        for k, row in enumerate(rows)
        if row.fingerprint in found
    ]
