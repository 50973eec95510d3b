"""What `stsflora reproduce` takes when it is told nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from stsflora.experiments.paper import targets
from stsflora.experiments.paper.report import Report
from stsflora.experiments.paper.settings import DATA_VARIABLE, TARGETS, ReproductionSettings


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_made_by_its_own_function(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stub(name: str) -> Callable[..., Report]:
        return lambda *arguments: Report(name, "", "", figure=Mock())

    for name in TARGETS:
        monkeypatch.setattr(targets, name.replace("fig", "figure"), stub(name))
    for helper in ("_attention", "_pictures", "_known_runs", "measured_memory"):
        monkeypatch.setattr(targets, helper, Mock())
    assert targets.reproduce(target, ReproductionSettings(), Mock()).target == target


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
