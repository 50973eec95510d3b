"""Every link in the Markdown of the repository leads somewhere, on GitHub and in the site of `make docs`.

Links to other sites are only checked for their form: a test shall not need a network.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from helpers.paths import ROOT
from markdown_it import MarkdownIt
from markdown_it.token import Token

import stsflora.models
import stsflora.solver

MADE = {"build", "results", "site"}
"""Folders at the top that commands write."""

PAGES = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if path.relative_to(ROOT).parts[0] not in MADE
    and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
PARSER = MarkdownIt("commonmark").enable("table")


def inline_tokens(text: str) -> list[Token]:
    """The tokens of all running text, code left out."""
    return [token for block in PARSER.parse(text) for token in block.children or []]


def targets(text: str) -> list[str]:
    """What the links and images of a page point to."""
    found = (token.attrGet("href") or token.attrGet("src") for token in inline_tokens(text))
    return [unquote(str(target)) for target in found if target]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page, and the site as well."""
    blocks = PARSER.parse(text)
    slugs: Counter[str] = Counter()
    found = set()
    for opening, content in pairwise(blocks):
        if opening.type == "heading_open":
            title = "".join(token.content for token in content.children or [])
            slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            found.add(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
            slugs[slug] += 1
    return found


def problem_with(target: str, page: Path, root: Path = ROOT) -> str | None:
    """Why a link does not lead anywhere, or None."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        fine = parts.scheme in {"http", "https"} and "." in (parts.hostname or "") and " " not in target
        return None if fine else "is no well-formed address"
    file = (page.parent / parts.path).resolve() if parts.path else page
    if not file.is_relative_to(root):
        return "leaves the repository"
    if not file.exists() or file.name not in {entry.name for entry in file.parent.iterdir()}:
        return "does not exist"
    if parts.fragment and file.suffix == ".md" and parts.fragment not in anchors(file.read_text()):
        return f"has no heading #{parts.fragment}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    problems = {target: problem_with(target, page) for target in targets(page.read_text())}
    assert {target: problem for target, problem in problems.items() if problem} == {}


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("other.md", None),
        ("other.md#a-b--c_d", None),
        ("#here", None),
        ("other.md#twice-1", None),
        ("https://arxiv.org/abs/2605.26120", None),
        ("missing.md", "does not exist"),
        ("Other.md", "does not exist"),
        ("other.md#twice-2", "has no heading #twice-2"),
        ("#there", "has no heading #there"),
        ("../../../../../../etc/passwd", "leaves the repository"),
        ("folder/", None),
        ("folders/", "does not exist"),
        ("https://nowhere", "is no well-formed address"),
        ("htps://example.org", "is no well-formed address"),
    ],
)
def test_every_kind_of_broken_link_is_seen(target: str, problem: str | None, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    page.write_text(f"# Here\n\nSee [it]({target}), not `[code](missing.md)`.\n\n    [code](missing.md)\n")
    other.write_text("# A: (b) – `c_d`\n\n## Twice\n\n## Twice\n")
    (found,) = targets(page.read_text())
    assert problem_with(found, page, tmp_path) == problem


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_formulas_in_a_text_stay_on_one_line(page: Path) -> None:
    """The site would show the source of others."""
    texts = [block.content for block in PARSER.parse(page.read_text()) if block.type == "inline"]
    lines = [re.sub(r"`[^`]*`", "", line) for text in texts for line in text.splitlines()]
    assert [line for line in lines if line.count("$") % 2] == []


def entries(page: str) -> list[str]:
    return re.findall(r"^::: (\S+)$", (ROOT / "docs" / page).read_text(), flags=re.MULTILINE)


def test_the_reference_has_every_public_name_of_the_solver() -> None:
    listed = entries("api_solver.md")
    assert len(set(listed)) == len(listed)
    assert {f"stsflora.solver.{name}" for name in stsflora.solver.__all__} <= set(listed)


def test_the_reference_has_every_module_of_the_models() -> None:
    folder = Path(str(stsflora.models.__file__)).parent
    paths = [
        path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py") if path.stem != "__init__"
    ]
    modules = {".".join(("stsflora", "models", *path.parts)) for path in paths}
    assert modules == set(entries("api_models.md"))
