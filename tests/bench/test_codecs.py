"""The bench says of every picture what can be said."""

import numpy as np

from salcompress.bench.codecs import run_bench
from salcompress.codecs import load_codecs
from salcompress.image import encode_image


def test_a_flat_picture_has_no_psnr_and_is_said_to_be_exact(tmp_path, capsys, monkeypatch):
    curves = {"salient": "salient:saliency=uniform,q=0,1,device=cpu", "jpeg": "jpeg:q=30,60"}
    monkeypatch.setattr("salcompress.bench.codecs._CURVES", curves)
    monkeypatch.setattr("salcompress.bench.codecs._PARTS", {"none": lambda *_: None})
    path = tmp_path / "flat.png"
    path.write_bytes(encode_image(np.full((64, 64, 3), 128, np.uint8), "PNG"))
    run_bench(["none"], load_codecs("png"), None, 1, [path])
    text = capsys.readouterr().out
    assert "exact" in text and "too small" in text and "perceptual 0.0000" in text
    assert "BD-rate of psnr: not comparable" in text
    assert "BD-rate of perceptual: not comparable" in text
