"""Studies show what they measure."""

from stsflora.benchmarks.families import fading_sequence
from stsflora.benchmarks.studies.timing import Timed, fastest, round_seconds, table_lines
from stsflora.solver import solve


def test_rounds_are_solved_by_all_ways_and_start_from_their_own_result():
    seen = []
    clock = iter(range(100))

    def cold(problem, earlier):
        return solve(problem, "greedy")

    def warm(problem, earlier):
        seen.append(earlier)
        next(clock)
        return solve(problem, "greedy", start=earlier)

    seconds, difference = round_seconds(
        fading_sequence(2, 4, seed=0, correlation=0.9), (cold, warm), lambda: next(clock)
    )
    assert seconds == [1, 2]
    assert 0 <= difference < 1e-2
    assert seen[0] is None
    assert all(result.ste > 0 for result in seen[1:])


def test_tables_have_their_lines_as_soon_as_they_are_computed():
    computed = []

    def lines():
        for name in "ab":
            computed.append(name)
            yield name, len(computed)

    found = table_lines(("name", "n"), lines())
    assert [next(found), next(found), next(found)] == ["| name | n |", "| --- | ---: |", "| a | 1 |"]
    assert computed == ["a"]
    assert list(found) == ["| b | 2 |"]


def test_ways_take_turns_and_the_fastest_counts():
    turns = []
    seconds = iter([3.0, 5.0, 2.0, 6.0])

    def way(name):
        turns.append(name)
        return Timed(next(seconds), (), 0)

    found = fastest([lambda: way("a"), lambda: way("b")], repeats=2)
    assert turns == ["a", "b", "a", "b"]
    assert [timed.seconds for timed in found] == [2.0, 5.0]
