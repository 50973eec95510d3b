"""Figure 9: kept patches, and the attention that ranks them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import torch

from stsflora.experiments.paper.figure9 import figure9
from stsflora.experiments.paper.pictures import Pictures
from stsflora.models.data import Images
from stsflora.models.vit.backbone import small_vit

pytestmark = pytest.mark.usefixtures("one_thread")


def test_kept_patches_are_told_from_the_ink():
    pixels = torch.zeros(5, 3, 24, 24, dtype=torch.uint8)
    pixels[:, :, 8:16, 8:16] = 255
    torch.manual_seed(0)
    pictures = Pictures("digits", "small", Images(pixels, torch.arange(5), 5), small_vit().eval())
    report = figure9(pictures, cut=2)
    assert {row["all_share"] for row in report.data} == {4 / 36}
    assert {row["kept"] for row in report.data} == {12}
    assert [row["block"] for row in report.data] == [2, 4]
    assert report.statements[0].holds in {True, False}
    photographs = figure9(replace(pictures, name="flowers"), cut=2)
    assert photographs.statements[0].holds is None  # no outlines of objects


def test_attention_is_of_the_asked_blocks_in_any_order():
    torch.manual_seed(0)
    images = Images(torch.randint(0, 255, (3, 3, 24, 24), dtype=torch.uint8), torch.arange(3), 3)
    pictures = Pictures("digits", "small", images, small_vit().eval())
    together = pictures.attention([3, 1])
    np.testing.assert_array_equal(together[1], pictures.attention([1])[1])
    np.testing.assert_array_equal(together[3], pictures.attention([3])[3])
    np.testing.assert_allclose(together[1].sum(axis=1), 1, rtol=1e-5)
