"""The benchmark page says what its rows say, and nothing else."""

import gzip
import json
import math
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.rows import benchmark_row

from stsflora.benchmarks.report.archive import compact, read_archive, write_archive
from stsflora.benchmarks.report.page import competitors, page_text, write_page
from stsflora.benchmarks.report.sentences import failures
from stsflora.benchmarks.report.standing import Standing, best_first, best_known, judge, label_of, standings
from stsflora.benchmarks.report.text_table import share_text
from stsflora.benchmarks.rows import Row
from stsflora.benchmarks.suites.named import suite
from stsflora.benchmarks.suites.plan import plan, plan_reference
from stsflora.benchmarks.suites.suite import Suite
from stsflora.experiments.cli.main import main
from stsflora.solver import FileFormatError, OptionError, solvers

PAGE = Path(__file__).parents[3] / "docs" / "benchmark.md"


def row(solver: str, clients: int, seed: int, ste: float, **changes) -> Row:
    values = {
        "key": f"{solver}-{clients}-{seed}",
        "instance": f"flat-{clients}x8-s{seed}",
        "fingerprint": f"{clients}-{seed}",
        "family": "flat",
        "asked_gap": 1e-4,
        "time_limit_s": 5.0,
        "solve_s": 0.002,
        "claimed_bound": math.inf,
        "trace": ((0.1, 1.0, math.inf),),
    }
    return benchmark_row(solver=solver, clients=clients, seed=seed, ste=ste, **(values | changes))


@pytest.fixture
def rows() -> list[Row]:
    """Solver a proves, b is 20 % below once and fails once, c is slow and ran on small instances only."""
    none = {"quality": "none", "stop": "error", "message": "broken"}
    proof = {"bound": 100.005, "gap": 5e-5, "quality": "optimal"}
    late = {"stop": "time_limit", "solve_s": 6.0}
    return [
        *(row("a", clients, seed, 99.9999, **proof) for clients in (5, 1000) for seed in (0, 1)),
        row("b", 5, 0, 100.0),
        row("b", 5, 1, 80.0),
        row("b", 1000, 0, 100.0),
        row("b", 1000, 1, -math.inf, **none),
        row("c", 5, 0, 99.995, **late),
        row("c", 5, 1, 99.98, **late),
        *(
            row("a", clients, seed, 100.0, asked_gap=1e-6, bound=100.00005, gap=5e-7, quality="optimal")
            for clients in (5, 1000)
            for seed in (0, 1)
        ),
    ]


def ranked_standings(rows: list[Row]) -> dict[str, Standing]:
    return standings(best_first(competitors(judge(rows, best_known(rows)))), label_of)


def test_references_sharpen_what_is_known_but_do_not_compete(rows):
    compared = competitors(judge(rows, best_known(rows)))
    assert len(compared) == 10
    assert ranked_standings(rows)["a"].runs == 4
    assert ranked_standings(rows)["a"].shortfall.median == pytest.approx(1e-6)
    text = page_text(rows, "benchmark")
    assert "`a` solved every instance once more at a gap of 1.0e-6; that was proved on 4 of 4" in " ".join(
        text.split()
    )
    alone = page_text([entry.row for entry in compared], "benchmark")
    assert "once more" not in alone


def test_a_page_of_what_is_minimised_says_so(rows):
    less = {"objective": "energy", "bound": -math.inf, "claimed_bound": -math.inf}
    none = {"value": math.inf, "bound": -math.inf, "quality": "none", "stop": "not taken"}
    energies = [
        row("a", 5, 0, 2.0, **(less | {"bound": 1.9999})),
        row("b", 5, 0, 4.0, **less),
        row("c", 5, 0, 4.0, **(less | none)),
    ]
    text = " ".join(page_text(energies, "benchmark").split())
    for words in (
        "how far the energy is above the best known",
        "| `b` | 1 | 100 % | 0 % | – | 50 % | 50 % |",
        "| flat | 0 (0) | 50 % (50 %) | not taken |",
        "| flat | 5 | energy | less | 2 J | 1.9999 J |",
        "no energy, bound or infeasibility claimed in 2 runs is contradicted",
        "Distance above the optimum by family",
    ):
        assert words in text, words
    assert "STE" not in text


def test_standings_count_outcomes_over_all_runs(rows):
    found = ranked_standings(rows)
    a, b, c = found["a"], found["b"], found["c"]
    assert (a.runs, a.feasible, a.close, a.proved, a.limited, a.errors) == (4, 4, 4, 4, 0, 0)
    assert (b.runs, b.feasible, b.close, b.proved, b.limited, b.errors) == (4, 3, 2, 0, 0, 1)
    assert (c.runs, c.feasible, c.close, c.proved, c.limited, c.errors) == (2, 2, 1, 0, 2, 0)
    assert b.shortfall == (pytest.approx(0.1), 1.0)
    assert c.seconds == (6.0, 6.0)
    assert list(found) == ["a", "c", "b"], "best first"


def test_skips_and_infeasible_instances_do_not_stand(rows):
    hopeless = row("a", 5, 9, -math.inf, fingerprint="hopeless", stop="infeasible", quality="none")
    skipped = row("d", 5, 0, -math.inf, stop="skipped", quality="none")
    more = [*rows, hopeless, skipped]
    assert repr(ranked_standings(more)) == repr(ranked_standings(rows)), "nan differs from itself on 3.13"
    assert "1 of 1 runs said so" in " ".join(page_text(more, "benchmark").split())


def test_failures_are_named_with_their_places(rows):
    competing = best_first(competitors(judge(rows, best_known(rows))))
    assert failures(competing) == [
        "`c` reached the limit in 2 of 2 runs: in every family and at every size.",
        "`c` missed 1e-4 in 1 of 2 runs: in every family and at every size.",
        "`b` ended in an error in 1 of 4 runs: flat at 1,000 (1 of 2).",
        "`b` found no feasible allocation in 1 of 4 runs: flat at 1,000 (1 of 2).",
        "`b` missed 1e-4 in 2 of 4 runs: in every family and at every size.",
    ]
    only_large = [
        entry
        for entry in competing
        if entry.row.label == "b" and not (entry.row.clients == 5 and entry.row.seed)
    ]
    assert failures(only_large)[-1] == "`b` missed 1e-4 in 1 of 3 runs: flat at 1,000 (1 of 2)."


def test_the_page_says_which_sizes_a_solver_was_spared(rows):
    text = " ".join(page_text(rows, "benchmark").split())
    assert "`c` runs at 5 clients only" in text
    assert "`b` runs" not in text
    assert re.search(r"`c` \| [^|]+ \| not run \|", text)


def test_a_contradicted_claim_is_on_the_page(rows):
    assert "is contradicted by another run" in page_text(rows, "benchmark")
    wrong = [*rows, row("d", 5, 0, 90.0, claimed_bound=95.0)]
    assert "1 of `d` among 11 runs claim what other runs or the evaluator contradict" in " ".join(
        page_text(wrong, "benchmark").split()
    )


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [(0, 9, "0 %"), (9, 9, "100 %"), (799, 800, "99.9 %"), (1, 5000, "0.1 %"), (1, 3, "33 %")],
)
def test_shares_are_not_rounded_to_all_or_none(count, total, text):
    assert share_text(count, total) == text


def test_archives_give_back_compact_rows_and_equal_bytes(rows, tmp_path):
    first, second = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    write_archive(rows, first)
    assert [entry.as_dict() for entry in read_archive(first)] == [compact(entry).as_dict() for entry in rows]
    write_archive(read_archive(first), second)
    assert first.read_bytes() == second.read_bytes()
    kept = compact(replace(rows[0], value=1 / 3, ste=1 / 3, solve_s=1 / 3))
    assert (kept.ste, kept.solve_s, kept.trace) == (0.3333333333, 0.333, ())


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"[]\n"), gzip.compress(b'{"key": 1}\n'), gzip.compress(b"x" * 999)[:-12]],
    ids=["no gzip", "no row", "not all of a row", "cut off"],
)
def test_a_broken_archive_is_named(data, tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=r"rows\.jsonl\.gz"):
        read_archive(path)


def test_an_archive_that_unpacks_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("stsflora.benchmarks.report.archive.MAX_BYTES", 1000)
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * 2000))
    with pytest.raises(FileFormatError, match="more than 1000 bytes"):
        read_archive(path)


def test_the_page_is_written_with_rows_and_pictures_and_again_from_them(rows, tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / "docs" / "x.md"
    paths = write_page(rows, page)
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == {
        "docs/x.md",
        "docs/x.jsonl.gz",
        *(f"docs/images/x_{name}.png" for name in ("quality", "map", "answers", "time")),
    }
    assert all(path.exists() for path in paths)
    text = page.read_text()
    for target in re.findall(r"\]\(((?:images/)?x[^)]*)\)", text):
        assert (page.parent / target).exists(), target
    assert page_text(read_archive(page.with_suffix(".jsonl.gz")), "x") == text


@pytest.mark.parametrize("name", ["page.txt", "page"])
def test_a_page_that_is_no_markdown_is_refused(rows, tmp_path, name):
    with pytest.raises(OptionError, match=r"ends in \.md"):
        write_page(rows, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_rows_without_a_feasible_instance_make_no_page(tmp_path):
    hopeless = row("a", 5, 9, -math.inf, stop="infeasible", quality="none")
    with pytest.raises(OptionError, match="no run on a feasible instance"):
        write_page([hopeless], tmp_path / "page.md")
    assert list(tmp_path.iterdir()) == []


def test_the_suite_spares_a_solver_what_is_too_large_and_asks_references_for_more():
    small = Suite("small", "", solvers=("equal", "full"), families=("paper",), clients=(2, 3), seeds=1)
    spared = plan(replace(small, largest={"full": 2}))
    assert [(job.solver, job.clients) for job in spared] == [("equal", 2), ("full", 2), ("equal", 3)]
    assert plan_reference(small) == []
    references = plan_reference(replace(small, reference_gap=1e-7, largest={"exact": 2}))
    assert [(job.solver, job.clients, job.asked_gap) for job in references] == [
        ("exact", 2, 1e-7),
        ("exact", 3, 1e-7),
    ]


def test_the_report_suite_has_every_solver_family_and_twenty_seeds():
    jobs = plan(suite("report"))
    assert {job.solver for job in jobs} == {info.name for info in solvers()}
    assert {job.clients for job in jobs if job.solver == "exact"} == {5, 20, 100, 1000}
    assert {job.seed for job in jobs} >= set(range(20))


def test_bench_writes_the_page_from_one_command(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stsflora.benchmarks.versions.source_digest", lambda: "00000000")
    small = ["--families", "paper", "--clients", "2", "--seeds", "1", "--override", "tokens=8"]
    command = ["bench", "--suite", "report", "--solvers", "equal,exact", *small, "--no-plots", "--json"]
    with suppress(SystemExit):
        main([*command, "--page", "page.md"])
    found = json.loads(capsys.readouterr().out)
    assert {"page.md", "page.jsonl.gz"} <= set(found["files"])
    kept = read_archive("page.jsonl.gz")
    assert [(entry.label, entry.asked_gap) for entry in kept] == [
        ("equal", 1e-4),
        ("exact", 1e-4),
        ("exact", 1e-6),
    ]
    assert page_text(kept, "page") == Path("page.md").read_text()


def test_the_page_in_the_documentation_follows_from_its_rows():
    kept = read_archive(PAGE.with_suffix(".jsonl.gz"))
    assert page_text(kept, PAGE.stem) == PAGE.read_text()
    assert {entry.solver for entry in kept} <= {info.name for info in solvers()}
