"""What `stsflora reproduce` takes when it is told nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from stsflora.experiments.paper import settings
from stsflora.experiments.paper.settings import DATA_VARIABLE, ReproductionSettings
from stsflora.experiments.paper.targets import TARGETS


def test_every_name_of_a_target_can_be_made() -> None:
    assert tuple(TARGETS) == settings.TARGETS


def test_without_the_variable_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers102").mkdir()
    assert (ReproductionSettings().found_data, ReproductionSettings().found_weights) == (None, None)


def test_the_variable_names_a_folder_of_images_and_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert (ReproductionSettings().found_data, ReproductionSettings().found_weights) == (None, None)
    weights = tmp_path / "weights" / "vit_tiny_patch16_224.fp32.safetensors"
    weights.parent.mkdir()
    weights.touch()
    (tmp_path / "flowers102").mkdir()
    assert (ReproductionSettings().found_data, ReproductionSettings().found_weights) == (
        str(tmp_path / "flowers102"),
        weights,
    )
    assert ReproductionSettings(model="vit_base_patch16_224").found_weights is None
    given = ReproductionSettings(data="digits", weights=Path("mine"))
    assert (given.found_data, given.found_weights) == ("digits", Path("mine"))
