"""The learned codec with the shipped weights, and a stream of it."""
import pytest

from salcompress.codecs.salient import SalientCodec


@pytest.fixture(scope="session")
def codec():
    return SalientCodec(0.4, device="cpu")


@pytest.fixture(scope="session")
def stream(codec, picture):
    return codec.encode(picture)
