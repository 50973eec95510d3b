"""Inner parts of timm and torch are touched in one file each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.imports import SOURCES
from helpers.paths import ROOT

FENCED = {ROOT / "models" / "vit" / "timm_parts.py", ROOT / "models" / "vit" / "torch_parts.py"}
INNER = re.compile(
    r"(?:from|import) (?:timm\.|torch\.[\w.]*\b_|peft\.)|timm\.(?:layers|models)\.|torch\._"
    r"|\._(?:modules|parameters|buffers|pos_embed|cdata)\b|\.fused_attn\b"
)


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path not in FENCED], ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_else_touches_them(path: Path) -> None:
    code = "\n".join(line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines())
    assert not INNER.findall(code)


def test_the_pattern_finds_them() -> None:
    assert all(INNER.search(path.read_text(encoding="utf-8")) for path in FENCED)
