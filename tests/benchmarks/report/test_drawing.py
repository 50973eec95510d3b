"""A solver or scheme looks the same in every picture, and lines say what their rows say."""

from itertools import combinations

import pytest

from stsflora.benchmarks.report.drawing import canvas, lines, looks, solver_names
from stsflora.benchmarks.suites.named import suites
from stsflora.solver import MissingDependencyError


def test_a_solver_looks_the_same_whoever_is_drawn_beside_it():
    names = solver_names()
    everybody = looks(names, names)
    for name in names:
        assert looks([name], names) == {name: everybody[name]}
        assert looks(["stranger", "exact:max_nodes=9", name], names)[name] == everybody[name]
    assert len({(look["color"], look["marker"]) for look in everybody.values()}) == len(names)
    assert len({look["marker"] for look in everybody.values()}) == len(names)


def test_option_variants_of_the_suites_differ_from_each_other_in_any_subset():
    names = solver_names()
    variants = {text for suite in suites() for text in suite.solvers}
    together = looks(sorted(variants), names)
    for pair in combinations(sorted(variants), 2):
        found = looks(pair, names)
        assert found == {label: together[label] for label in pair}
        first, second = (found[label] for label in pair)
        assert (first["color"], first["marker"]) != (second["color"], second["marker"]), pair
        if pair[0].partition(":")[0] == pair[1].partition(":")[0]:
            assert first["marker"] != second["marker"], pair


@pytest.mark.parametrize(("count", "different"), [(11, 11), (30, 30), (40, 33)])
def test_many_variants_of_one_solver_are_told_apart(count, different):
    labels = [f"fixed:tokens={tokens}" for tokens in range(count)]
    found = looks(labels, solver_names())
    assert len({(look["color"], look["marker"]) for look in found.values()}) == different
    assert len({look["marker"] for look in found.values()}) == 11


def test_schemes_have_variants_too_and_longer_names_are_names_of_their_own():
    order = ("st-sflora", "st-sflora-full")
    found = looks(["st-sflora-full", "st-sflora", "st-sflora (exact, 0.1)"], order)
    assert found["st-sflora"] == looks(["st-sflora"], order)["st-sflora"]
    assert found["st-sflora-full"]["color"] != found["st-sflora"]["color"]
    assert found["st-sflora (exact, 0.1)"]["marker"] != found["st-sflora"]["marker"]


def test_curves_that_are_no_names_are_told_apart_by_position():
    assert looks(["b", "a"]) == dict(zip("ba", looks(["x", "y"]).values(), strict=True))


def test_lines_are_medians_per_value_in_order_with_their_spread():
    pytest.importorskip("matplotlib")
    rows = [
        {"who": who, "size": size, "time": size * factor}
        for size in (10, 1)
        for who in ("a", "b")
        for factor in (1.0, 2.0, 9.0)
    ]
    _, (plain, banded, barred) = canvas("a test", 1, 3, (6, 2))
    lines(plain, rows, "size", "time", "who", markers=False, linestyle=":")
    assert [line.get_label() for line in plain.lines] == ["a", "b"]
    assert [list(line.get_xdata()) for line in plain.lines] == [[1, 10]] * 2
    assert [list(line.get_ydata()) for line in plain.lines] == [[2, 20]] * 2
    assert {line.get_marker() for line in plain.lines} == {""}
    assert {line.get_linestyle() for line in plain.lines} == {":"}
    lines(banded, rows, "size", "time", "who", spread=(0, 100))
    box = banded.collections[0].get_paths()[0].get_extents()
    assert (box.ymin, box.ymax) == (1.0, 90.0)
    lines(barred, rows, "size", "time", "who", spread=(0, 100), bars=True)
    segments = barred.collections[0].get_segments()
    assert [segment[:, 1].tolist() for segment in segments] == [[1.0, 9.0], [10.0, 90.0]]


def test_without_matplotlib_the_asking_command_and_the_remedy_are_named(without_matplotlib):
    with pytest.raises(MissingDependencyError, match=r'reproduce.*pip install "stsflora\[plot\]"'):
        canvas("reproduce", 1, 1, (3, 3))
