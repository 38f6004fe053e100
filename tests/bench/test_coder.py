"""The bench says what the entropy coder takes of the whole."""

import re

import numpy as np

from salcompress.bench import coder
from salcompress.codecs import load_codecs
from salcompress.image import encode_image


def test_the_coder_is_a_part_of_encoding_and_decoding(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(coder, "_STREAMS", 4)
    monkeypatch.setattr(
        coder, "_in_processes", coder._in_threads
    )  # processes take seconds to start
    path = tmp_path / "noise.png"
    noise = np.random.default_rng(1).integers(0, 256, (100, 130, 3)).astype(np.uint8)
    path.write_bytes(encode_image(noise, "PNG"))
    coder.bench_coder(load_codecs("png", "salient:q=0.3,device=cpu"), path, 3)
    text = capsys.readouterr().out
    assert "png" not in text and "130x100" in text
    shares = [float(share) for share in re.findall(r"\(([\d.]+) %\)", text)]
    assert len(shares) == 2 and all(0 < share < 100 for share in shares)
    assert re.search(r"one thread writes \d+ streams/s", text)
