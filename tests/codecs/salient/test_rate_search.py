"""Laws of the search for the quality level that meets a target."""

import functools

import pytest

from salcompress.codecs.salient.rate_search import first_level, last_level
from salcompress.errors import SettingError
from salcompress.metrics.psnr_ssim import psnr
from tests.codecs.salient.searched import searching


def test_targets_are_kept_by_the_streams_of_the_search(textured):
    codec = searching(5)
    chosen = codec.at_target_bpp(textured, 1.0)
    bits = [
        8 * len(chosen.with_quality(chosen.quality + step).encode(textured)) for step in (0, 1 / 63)
    ]
    assert chosen.effort == 5 and bits[0] <= textured[:, :, 0].size < bits[1]
    reached = codec.at_target_psnr(textured, 24.0)
    assert reached.effort == 5 and psnr(textured, reached.reconstruct(textured).image) >= 24
    with pytest.raises(SettingError, match="target 0.001 bpp is out of reach"):
        codec.at_target_bpp(textured, 0.001)


@pytest.mark.parametrize("end", [-1, 0, 1, 17, 31, 32, 62, 63])
@pytest.mark.parametrize("gain", [0, 1, 4, 60])
def test_the_search_for_a_rate_takes_few_trials_with_effort(end, gain):
    """With a search of the encoder's the bound lies ``gain`` levels higher; trials without it are
    cheap.
    """
    last, trials = min(end + gain, 63), []

    def keeps(effort, level):
        trials.append((effort, level))
        return level <= (last if effort else end)

    def reaches(effort, level):
        return keeps(effort, 63 - level)

    for search, answer in (
        (functools.partial(last_level, keeps), last),
        (functools.partial(first_level, reaches), 63 - last),
    ):
        trials.clear()
        assert search(7) == (None if last < 0 else answer)
        assert len({level for effort, level in trials if effort}) <= (
            6 if gain < 5 else 12
        ) and len(trials) == len(set(trials))
