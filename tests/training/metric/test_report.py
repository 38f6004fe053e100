"""metric-eval reports what metrics share with labels, and claims no more."""

import numpy as np
import pytest

from salcompress.cli.main import main
from salcompress.data.scenes import make_scene
from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.image import encode_image
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.training.metric.compressed import compress
from salcompress.training.metric.correlation import correlations
from salcompress.training.metric.evaluation import METRICS, Choices, agreements
from salcompress.training.metric.judgements import Opinion
from salcompress.training.metric.report import agreement_table


def test_metric_eval_of_a_small_table(tmp_path, capsys):
    lines = ["reference,a,b,fraction"]
    scores = ["reference,image,score,group"]
    for index in range(3):
        scene = make_scene(45, index).image
        for name, image in (
            ("r", scene),
            ("good", compress(scene, "jpeg", 2).image),
            ("fair", compress(scene, "jpeg", 7).image),
            ("bad", compress(scene, "jpeg", 11).image),
        ):
            write_atomically(tmp_path / f"{name}{index}.png", encode_image(image, "PNG"))
        lines.append(f"r{index}.png,bad{index}.png,good{index}.png,0.1")
        scores += [
            f"r{index}.png,{name}{index}.png,{score},jpeg"
            for name, score in (("good", 80), ("fair", 50), ("bad", 20))
        ]
    write_atomically(tmp_path / "t.csv", "\n".join(lines))
    write_atomically(tmp_path / "s.csv", "\n".join(scores))
    assert (
        main(
            [
                "metric-eval",
                "--triplets",
                str(tmp_path / "t.csv"),
                "--scores",
                str(tmp_path / "s.csv"),
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    for name in METRICS:
        assert (
            f"| {name} | 0.900 (too few pictures) |" in printed
        )  # nine of ten judges say what is plain to see
    assert "rank correlation with 9 opinion scores, higher is better" in printed
    assert main(["metric-eval", "--scores", str(tmp_path / "s.csv"), "--lower-is-better"]) == 0
    assert "| learned | -0." in capsys.readouterr().out


def test_metric_eval_says_what_is_wrong(tmp_path, capsys):
    assert main(["metric-eval"]) == 2
    assert "needs --images, --triplets, --bapps or --scores" in capsys.readouterr().err
    write_atomically(tmp_path / "t.csv", "reference,a,b,fraction\nx.png,y.png,z.png,0.5\n")
    assert main(["metric-eval", "--triplets", str(tmp_path / "t.csv")]) == 1
    assert "line 2: reference 'x.png' does not exist" in capsys.readouterr().err


def test_agreement_counts_ties_and_missing_values():
    a = np.array([[30.0, 0.9, np.nan, -0.1]] * 6)
    b = np.array([[20.0, 0.9, 0.5, -0.2], [40.0, 0.9, 0.5, -0.2]] * 3)
    found = agreements(
        Choices(a, b, np.full(6, 0.8), np.zeros(6, bool), np.zeros(6, bool), np.arange(6))
    )
    assert found["PSNR"].share == pytest.approx(0.5) and found["SSIM"].share == pytest.approx(
        0.5
    )  # half right; all ties
    assert (
        found["MS-SSIM"] is None
        and found["learned"].share == pytest.approx(0.8) == found["best possible"].share
    )
    assert found["PSNR"].lead[1] > 0
    few = agreements(
        Choices(a, b, np.full(6, 0.8), np.zeros(6, bool), np.zeros(6, bool), np.arange(6) % 2)
    )  # two pictures: no interval is claimed
    assert (
        few["PSNR"].share == found["PSNR"].share
        and few["PSNR"].interval is None
        and few["PSNR"].lead is None
    )


def test_near_threshold_pairs_have_a_column_and_a_lead_of_their_own():
    """The learned metric is right everywhere, PSNR only where quality differs widely."""
    near = np.arange(12) % 2 == 0
    a = np.array([[20.0 if k else 40.0, 0.8, 0.8, -0.1] for k in near])
    b = np.array([[30.0, 0.8, 0.8, -0.2]] * 12)
    choices = Choices(a, b, np.ones(12), ~near, near, np.arange(12) // 2)
    head, _, first, *_ = (
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in agreement_table(choices).splitlines()
    )
    row = dict(zip(head, first))
    assert row["2AFC agreement"] == "PSNR" and row["all (12)"].startswith("0.500 [")
    assert row["near threshold (6)"] == "0.000 [0.000, 0.000]"
    assert row["learned leads by"] == "[+0.500, +0.500]"
    assert row["leads near threshold by"] == "[+1.000, +1.000]"
    learned = agreement_table(choices).splitlines()[2 + METRICS.index("learned")]
    assert learned.split("|")[-3:] == ["  ", "  ", ""]  # nothing leads over itself
    elsewhere = choices._replace(near_threshold=np.zeros(12, bool))
    assert "near threshold" not in agreement_table(elsewhere)  # no empty column


def test_correlation_needs_an_order(tmp_path):
    write_atomically(tmp_path / "r.png", encode_image(make_scene(46, 0).image, "PNG"))
    opinion = Opinion(tmp_path / "r.png", tmp_path / "r.png", 5.0, "")
    with pytest.raises(SettingError, match="at least three scores that are not all equal"):
        correlations([opinion] * 4, PerceptualMetric(), False)
