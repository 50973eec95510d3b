"""A suite becomes jobs, each once, and wrong suites are refused before anything runs."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.rows import SMALL

from stsflora.benchmarks.suites.named import suite, suites
from stsflora.benchmarks.suites.plan import plan
from stsflora.solver import OptionError, UnknownNameError, solvers


def test_jobs_cover_the_suite_and_has_no_key_twice():
    jobs = plan(replace(SMALL, clients=(3, 2)))
    assert len(jobs) == len({job.key for job in jobs}) == 2 * 2 * 2 * 2
    assert [job.clients for job in jobs] == [2] * 8 + [3] * 8
    assert plan(replace(SMALL, solvers=("full", "equal", "full"))) == plan(
        replace(SMALL, solvers=("full", "equal"))
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"solvers": ("fixed:tokens=3",)},
        {"gap": 1e-3},
        {"time_limit_s": 5.0},
        {"repeats": 2},
        {"overrides": {"tokens": 9}},
    ],
)
def test_changed_options_and_limits_are_new_jobs(changes):
    base = replace(SMALL, solvers=("fixed",), families=("paper",))
    assert not {job.key for job in plan(base)} & {job.key for job in plan(replace(base, **changes))}


def test_changed_versions_are_new_jobs():
    job = plan(SMALL)[0]
    assert job.key != replace(job, versions={**job.versions, "numpy": "0"}).key


def test_named_suites_name_known_families_and_no_name_twice():
    from stsflora.benchmarks.families import families, general_families

    assert len({entry.name for entry in suites()}) == len(suites())
    for entry in suites():
        assert set(entry.families) <= {*families(), *general_families()}
        assert entry.summary.endswith((".", "?"))


def test_an_empty_choice_means_all():
    jobs = plan(replace(SMALL, solvers=(), families=(), seeds=1))
    assert {job.solver for job in jobs} == {info.name for info in solvers()}
    assert {job.family for job in jobs} >= {"paper", "infeasible", "ties"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"families": ("papper",)}, UnknownNameError),
        ({"clients": (0,)}, OptionError),
        ({"clients": ()}, OptionError),
        ({"seeds": 0}, OptionError),
        ({"gap": -1.0}, OptionError),
        ({"gap": math.nan}, OptionError),
        ({"time_limit_s": 0.0}, OptionError),
        ({"repeats": 0}, OptionError),
    ],
)
def test_wrong_suites_are_refused_before_anything_runs(changes, error):
    with pytest.raises(error):
        plan(replace(SMALL, **changes))


def test_an_unknown_suite_lists_the_known():
    with pytest.raises(UnknownNameError, match="demo, starts, speed"):
        suite("dmeo")


def test_named_suites_load_no_numerical_library():
    code = (
        "import sys; from stsflora.benchmarks.suites import named; "
        "print(len(named.suites()), 'numpy' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == [str(len(suites())), "False"]
