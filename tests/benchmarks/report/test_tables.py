"""Tables and pictures say what the rows say."""

import math
from dataclasses import replace

import pytest
from helpers.rows import benchmark_row
from rich.console import Console

from stsflora.benchmarks.report.objective_text import OBJECTIVE_TEXTS, value_text, wording
from stsflora.benchmarks.report.pictures import PICTURES, save_pictures
from stsflora.benchmarks.report.report import report_text
from stsflora.benchmarks.report.sentences import notes, proof_sentence
from stsflora.benchmarks.report.standing import Judged, Known, best_known, judge
from stsflora.benchmarks.report.tables import report_tables, summaries
from stsflora.benchmarks.report.text_table import gap_text, seconds_text, share_text
from stsflora.benchmarks.rows import Row
from stsflora.benchmarks.suites.suite import Suite
from stsflora.solver import MissingDependencyError, RoundTime, Ste
from stsflora.solver.objective import OBJECTIVES

SUITE = Suite(name="small", summary="For tests.", clients=(10, 100, 1000))


def rows() -> list[Row]:
    """Two solvers, two families, three sizes; one skip, one error, one infeasible instance."""

    def row(solver: str, family: str, clients: int, **changes) -> Row:
        exact = solver == "exact"
        values = {
            "key": f"{solver}-{family}-{clients}",
            "instance": f"{family}-{clients}x8-s0",
            "fingerprint": f"{family}-{clients}",
            "asked_gap": 1e-4,
            "versions": {"numpy": "2.0"},
            "solve_s": clients * (1e-5 if exact else 2e-5),
            "ste": 100.0 if exact else 75.0,
            "bound": 100.001 if exact else math.inf,
            "gap": 1e-5 if exact else math.inf,
            "claimed_bound": 100.001 if exact else math.inf,
            "quality": "optimal" if exact else "feasible",
            "trace": ((1e-4, 50.0, math.inf), (2e-4, 100.0 if exact else 75.0, 100.001)),
        }
        return benchmark_row(solver=solver, family=family, clients=clients, **(values | changes))

    none = {"ste": -math.inf, "quality": "none", "bound": math.inf, "gap": math.inf, "trace": ()}
    competing = [
        row(solver, family, clients)
        for solver in ("exact", "simple")
        for family in ("paper", "flat")
        for clients in (10, 100, 1000)
    ]
    return [
        *competing,
        row("exact", "hopeless", 10, stop="infeasible", message="energy budget", **none),
        row("simple", "hopeless", 10, stop="error", message="Broken | pipe", **none),
        row("absent", "paper", 10, stop="skipped", message='Run pip install "stsflora[minlp]"', **none),
    ]


def judged(rows: list[Row]) -> list[Judged]:
    return judge(rows, best_known(rows))


def test_the_report_holds_the_figures():
    table = {line[0]: line[1:] for line in report_tables(judged(rows()))[0].lines}
    seconds = (0.0101**3 * 0.011**2 * 0.02**2) ** (1 / 7) - 0.01
    assert table["exact"] == ("7", "100 %", "100 %", "100 %", "0", "0", "1.0e-5", seconds_text(seconds))
    seconds = (0.0102**2 * 0.012**2 * 0.03**2 * 10.01) ** (1 / 7) - 0.01
    assert table["simple"] == ("7", "86 %", "100 %", "0 %", "25 %", "25 %", "–", seconds_text(seconds))
    assert table["absent"] == ("0", *["–"] * 7)


def test_summaries_are_the_first_table_for_programs():
    exact, simple, absent = summaries(judged(rows()))
    assert (exact["label"], exact["runs"], exact["success"], exact["correct"]) == ("exact", 7, 1.0, 1.0)
    assert (simple["success"], simple["errors"]) == (pytest.approx(6 / 7), 1)
    assert (simple["median_shortfall"], simple["worst_shortfall"]) == (0.25, 0.25)
    assert (absent["runs"], absent["skipped"]) == (0, 1)
    assert math.isnan(absent["within_gap"])


def test_skips_and_errors_are_listed_with_their_reasons():
    failed = [
        "simple: error, 1 x: Broken | pipe",
        'absent: skipped, 1 x: Run pip install "stsflora[minlp]"',
    ]
    assert notes(rows()) == failed
    talking = [
        *rows(),
        *(replace(rows()[0], key=str(n), message="another engine\ntook over") for n in range(3)),
    ]
    assert notes(talking, failures_only=True) == failed
    assert notes(talking) == ["exact: converged, 3 x: another engine took over", *failed]
    many = [replace(rows()[0], message=f"reason {n}") for n in range(25)]
    assert len(notes(many)) == 21
    assert notes(many)[-1] == "and 5 more"


def test_families_and_sizes_have_tables_of_their_own():
    _, families, speed = report_tables(judged(rows()))
    assert families.columns == ("family", "exact", "simple")
    assert families.lines == (("paper", "0", "25 %"), ("flat", "0", "25 %"))
    assert speed.lines[1] == ("100 clients", "1 ms", "2 ms")
    assert speed.lines[-1] == ("growth exponent from 100", "1.00", "1.00")


def test_bounds_have_a_table_where_several_solvers_prove():
    proving = [replace(row, bound=110.0) if row.label == "simple" and row.feasible else row for row in rows()]
    _, _, bounds, _ = report_tables(judged(proving))
    assert bounds.columns == ("family", "exact", "simple")
    assert bounds.lines == (("paper", "1.0e-5", "10 %"), ("flat", "1.0e-5", "10 %"))


def test_markdown_is_complete_and_its_tables_are_regular():
    text = report_text(SUITE, judged(rows()), best_known(rows()), ["convergence.png"])
    assert text.startswith("# Benchmark: small\n")
    assert "![convergence](convergence.png)" in text
    assert "- simple: error, 1 x: Broken | pipe" in text
    assert "numpy 2.0" in text
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert len(blocks) == 3
    for block in blocks:
        assert len({line.count("|") for line in block}) == 1


@pytest.mark.parametrize("width", [40, 80, 200])
def test_terminal_tables_fit_and_lose_nothing(width):
    console = Console(width=width)
    many = [replace(row, options={"engine": f"e{n}"}) for row in rows() for n in range(9)]
    for table in report_tables(judged(many)):
        with console.capture() as captured:
            console.print(*table.rich(width), sep="\n")
        shown = captured.get()
        assert "…" not in shown
        assert max(map(len, shown.splitlines())) <= width
        for cells in zip(*table.lines, strict=True):
            for text in {text for cell in cells for text in cell.split(":")}:
                assert shown.count(text) >= sum(text in cell for cell in cells)


def test_a_contradicted_bound_is_called_an_error():
    fine = {"a": Known(100.0, 101.0, infeasible=False)}
    wrong = {"b": Known(100.0, 99.0, infeasible=False)}
    assert "enclosed on 1 of 1" in proof_sentence(fine)
    assert "error" not in proof_sentence(fine)
    assert "On 1 of them a bound is below an accepted STE: that is an error." in proof_sentence(fine | wrong)
    assert proof_sentence({"c": Known(-math.inf, math.inf, infeasible=True)}) == (
        "1 instances are infeasible, with proof."
    )
    assert proof_sentence({}) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.14e-5, "3.1e-5"),
        (0.0012, "0.12 %"),
        (0.0512, "5.1 %"),
        (0.256, "26 %"),
        (math.inf, "–"),
        (math.nan, "–"),
    ],
)
def test_gaps_are_readable(value, text):
    assert gap_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.345, "12.3 s"),
        (0.0123, "12.3 ms"),
        (1.234e-5, "12.3 µs"),
        (math.nan, "–"),
        (1.0, "1 s"),
        (1234.0, "1,230 s"),
        (0.9999, "1,000 ms"),
    ],
)
def test_times_are_readable(value, text):
    assert seconds_text(value) == text


def test_shares_are_percent():
    assert (share_text(0.5), share_text(math.nan)) == ("50 %", "–")


def test_all_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    names = save_pictures(judged(rows()), tmp_path)
    assert sorted(names) == sorted(entry.name for entry in tmp_path.iterdir())
    assert names == [f"{name}.png" for name in PICTURES]
    for name in names:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / name).stat().st_size < 200_000


def test_what_rows_do_not_show_is_not_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    nothing = [row for row in rows() if row.family == "hopeless"]
    assert save_pictures(judged(nothing), tmp_path) == []
    assert save_pictures([], tmp_path) == []


def test_without_matplotlib_the_remedy_is_named(tmp_path, without_matplotlib):
    with pytest.raises(MissingDependencyError, match=r'pip install "stsflora\[plot\]"'):
        save_pictures(judged(rows()), tmp_path)


def general_rows() -> list[Row]:
    """A family where less is better, one where more is, and a solver that takes only the latter."""
    time = {"family": "makespan", "fingerprint": "m", "objective": "round_time"}
    none = {"value": math.inf, "bound": -math.inf, "quality": "none", "stop": "not taken"}
    return [
        benchmark_row(**time, ste=2.0, bound=1.6, gap=0.25, trace=((0.1, math.inf, 0.0), (0.2, 2.0, 1.6))),
        benchmark_row(**time, solver="slow", ste=4.0, bound=-math.inf),
        benchmark_row(**time, solver="narrow", message="objective round_time; allowed: ste", **none),
        benchmark_row(ste=100.0, bound=101.0, gap=0.01),
        benchmark_row(solver="slow", ste=80.0),
        benchmark_row(solver="narrow", ste=90.0),
    ]


def test_tables_say_which_way_is_better():
    solvers, families, values = report_tables(judged(general_rows()))
    assert solvers.columns[5:7] == ("median off", "worst off")
    assert families.title == "How far off the best known value (median)"
    assert families.lines == (
        ("makespan", "0", "50 %", "not taken"),
        ("paper", "0", "20 %", "10 %"),
    )
    assert values.lines == (
        ("makespan", "2", "round_time", "less", "2 s", "1.6 s"),
        ("paper", "2", "ste", "more", "100/s", "101/s"),
    )


def test_one_minimised_objective_is_called_by_its_name():
    rows = [row for row in general_rows() if row.family == "makespan"]
    text = report_text(SUITE, judged(rows), best_known(rows), [])
    for words in (
        "median above",
        "how far the round time is above the best that any solver found on the instance, as a share of",
        "best round time over best bound - 1 is 25 %",
        "narrow: not taken, 1 x: objective round_time; allowed: ste",
    ):
        assert words in " ".join(text.split())
    assert "STE" not in text


def test_a_refusal_is_a_note_but_no_failure():
    assert notes(general_rows(), failures_only=True) == []
    assert len(notes(general_rows())) == 1


def test_a_bound_beyond_what_is_minimised_is_an_error_too():
    time = RoundTime()
    assert "a bound is above an accepted round time" in proof_sentence({"a": Known(1.0, 1.1, goal=time)})
    both = {"a": Known(1.0, 0.9, goal=time), "b": Known(1.0, 0.9)}
    assert "On 1 of them bound and accepted value disagree" in proof_sentence(both)


def test_every_objective_has_a_name():
    assert set(OBJECTIVE_TEXTS) == set(OBJECTIVES)
    assert [value_text(name, 1.5) for name in OBJECTIVES] == [
        "1.5/s",
        "1.5",
        "1.5 s",
        "1.5",
        "1.5 J",
        "1.5 s",
    ]
    assert wording([]) == wording([Ste()])


def test_pictures_are_drawn_of_any_objective(tmp_path):
    pytest.importorskip("matplotlib")
    assert "convergence.png" in save_pictures(judged(general_rows()), tmp_path)
