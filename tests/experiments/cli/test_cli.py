"""The command line as a user and a script meet it."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from stsflora.benchmarks.families import family
from stsflora.benchmarks.rows import read_rows
from stsflora.benchmarks.suites.named import suites
from stsflora.experiments.cli import solve as solve_command
from stsflora.experiments.cli.main import main
from stsflora.experiments.cli.objective_options import most_utility
from stsflora.experiments.cli.solvers import _features_text
from stsflora.experiments.finetune.config import DEVICES, METHODS, PARTITIONS
from stsflora.experiments.paper.settings import BACKBONES, DATASETS, SCHEMES, TARGETS
from stsflora.models.vit.names import MEASURES, MERGES
from stsflora.solver import (
    Allocation,
    Answer,
    Energy,
    Problem,
    Retained,
    Stop,
    evaluate,
    register,
    solve,
    solvers,
)
from stsflora.solver.objective import OBJECTIVES
from stsflora.solver.registry import EVERYTHING, FEATURES, unregister

SMALL = ["--families", "paper,infeasible", "--clients", "2", "--seeds", "1", "--override", "tokens=8"]
BENCH = ["bench", "--solvers", "equal,full", *SMALL]


@pytest.fixture(autouse=True)
def _fixed_sources(monkeypatch):
    """Keys stay the same while sources are being edited."""
    monkeypatch.setattr("stsflora.benchmarks.versions.source_digest", lambda: "00000000")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def call(capsys):
    """Runs a command; returns exit code, stdout, stderr."""

    def run(*arguments):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def strict_json(text):
    return json.loads(text, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))


# solve


def test_solve_prints_json_that_holds_the_result(call):
    code, out, err = call("solve", "--family", "paper", "--clients", 3, "--solver", "equal", "--json")
    assert (code, err) == (0, "")
    found = strict_json(out)
    problem = family("paper", 3, 0)
    allocation = Allocation(found["tokens"], found["bandwidth_hz"], found["power_w"])
    assert evaluate(problem, allocation).ste == found["ste"]
    assert found["bound"] is None
    assert found["stop"] == "converged"
    assert set(found["violations"]) == set(evaluate(problem, allocation).violations)


def test_solve_prints_a_table_for_people(call):
    code, out, _ = call("solve", "--family", "paper", "--clients", 25, "--solver", "equal")
    assert code == 0
    for text in ("equal on 25 clients x 196 tokens", "STE ", "no proved bound", "and 5 clients more", "kHz"):
        assert text in out


def test_problem_files_go_round(call, tmp_path):
    arguments = ["--solver", "equal", "--json"]
    _, drawn, _ = call("solve", "--family", "flat", "--clients", 3, "--save-problem", "a.json", *arguments)
    assert Problem.load("a.json") == family("flat", 3, 0)
    code, read, _ = call("solve", "a.json", "--save-problem", "b.npz", *arguments)
    assert code == 0
    assert Problem.load("b.npz") == Problem.load("a.json")
    assert strict_json(read)["ste"] == strict_json(drawn)["ste"]


def test_a_saved_result_is_a_start(call, tmp_path):
    arguments = ["solve", "--family", "paper", "--clients", 3, "--solver", "equal", "--json"]
    _, out, _ = call(*arguments)
    (tmp_path / "result.json").write_text(out)
    assert call(*arguments, "--start", "result.json")[0] == 0
    (tmp_path / "result.json").write_text(json.dumps(strict_json(out) | {"tokens": None}))
    code, _, err = call(*arguments, "--start", "result.json")
    assert code == 2
    assert "no list 'tokens'" in err


def test_options_reach_the_solver(call):
    arguments = ["solve", "--family", "paper", "--clients", 3, "--solver", "fixed", "--json"]
    _, out, _ = call(*arguments, "--option", "tokens=7")
    assert strict_json(out)["tokens"] == [7, 7, 7]


@pytest.fixture
def general_solver():
    """Takes any problem: the minimum of every client's first row over equal shares, or nobody."""

    def first_rows(problem, request):
        """K_min for everyone over equal shares of the band."""
        rows, share = problem.row_of_client, problem.bandwidth_hz / problem.clients
        if problem.may_skip.all():
            rows, share = np.full(problem.clients, -1), 0.0
        tokens = np.where(rows < 0, 0, problem.min_tokens[rows])
        power = np.where(rows < 0, 0.0, problem.max_power_w[rows])
        allocation = Allocation(tokens, np.full(problem.clients, share), power, row=rows)
        return Answer(allocation, bound=1e-9 if not problem.objective.maximises else 1e9)

    register("first_rows", proves="bound", takes=dict.fromkeys(OBJECTIVES, EVERYTHING))(first_rows)
    yield "first_rows"
    unregister("first_rows")


SHOWN = (
    ("ste", ["--objective", "ste"], ("STE ", "/s, at most 1e+09/s possible")),
    ("retained", ["--objective", "retained", "--round-s", "900"], ("Sum of utilities ", "at most 1e+09 p")),
    ("round_time", ["--objective", "round_time"], ("Round time ", " s, at least 1e-09 s needed (gap ")),
    (
        "weighted",
        ["--objective", "weighted", "--per-second", "2"],
        ("Net utility ", "at most 1e+09 possible"),
    ),
    ("energy", ["--objective", "energy", "--round-s", "900"], ("Energy ", " J, at least 1e-09 J needed")),
    ("total_time", ["--objective", "total_time", "--weight", "1,2,3"], ("Total time ", "at least 1e-09 s")),
)


@pytest.mark.parametrize(("name", "options", "words"), SHOWN, ids=[name for name, _, _ in SHOWN])
def test_an_objective_is_shown_in_its_own_sense(call, general_solver, name, options, words):
    arguments = ["solve", "--family", "tokens_x_bits", "--clients", 3, "--solver", general_solver, *options]
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    for text in (*words, "3 clients x 196 tokens, 9 rows", " row "):
        assert text in out
    found = strict_json(call(*arguments, "--json")[1])
    assert (found["objective"], found["row"]) == (name, [0, 3, 6])
    assert found["value"] != found["ste"] or name == "ste"


def test_skipped_clients_are_named(call, general_solver):
    arguments = ["solve", "--family", "selection", "--clients", 2, "--solver", general_solver]
    code, out, _ = call(*arguments)
    assert code == 0
    assert out.count("skipped") == 2
    assert strict_json(call(*arguments, "--json")[1])["row"] == [-1, -1]


def test_a_share_of_the_most_utility_counts_each_clients_best_row(call, general_solver, tmp_path):
    arguments = ["--clients", 3, "--solver", general_solver, "--retained-share", 0.5, "--json"]
    call(
        "solve",
        "--family",
        "tokens_x_bits",
        *arguments,
        "--objective",
        "round_time",
        "--save-problem",
        "a.npz",
    )
    drawn = family("tokens_x_bits", 3, 0)
    required = Problem.load("a.npz").objective.least_retained
    assert required == pytest.approx(0.5 * drawn.importance[::3].sum(), rel=1e-12)
    call("solve", "--family", "selection", *arguments[:-3], "--round-s", 9, "--save-problem", "b.json")
    assert Problem.load("b.json").objective == Retained(9.0)
    assert most_utility(Problem.load("b.json")).tolist() == [1.0, 1.0, 1.0]


def test_settings_change_the_objective_of_a_file(call, general_solver):
    """What is not given stays as it is there; another objective starts anew."""
    replace(family("makespan", 2, 0), objective=Energy(9.0, retained=0.0)).save("a.json")
    arguments = ["solve", "a.json", "--solver", general_solver, "--json", "--save-problem", "b.json"]
    call(*arguments, "--retained", 0.0)
    assert Problem.load("b.json").objective == Energy(9.0)
    call(*arguments, "--round-s", 8)
    assert Problem.load("b.json").objective == Energy(8.0)
    assert call(*arguments, "--objective", "retained")[0] == 2


def test_caps_blocks_and_skips_are_options(call, general_solver):
    options = ["--max-psd", 1e-7, "--max-bps-per-hz", 6, "--block-hz", 180e3, "--may-skip"]
    arguments = ["--clients", 2, "--solver", general_solver, "--save-problem", "a.json", "--json"]
    call("solve", "--family", "paper", *arguments, *options)
    assert Problem.load("a.json") == family(
        *("paper", 2, 0), max_psd_w_per_hz=1e-7, max_bps_per_hz=6.0, block_hz=180e3, may_skip=True
    )


def test_a_method_may_prove_that_what_is_wanted_cannot_be_had(call):
    def hopeless(problem, request):
        """Proves that there is nothing."""
        return Answer(None, stop=Stop.INFEASIBLE, bound=math.inf)

    register("hopeless", proves="bound", takes={"round_time": EVERYTHING})(hopeless)
    try:
        arguments = ["solve", "--family", "round_time", "--clients", 2, "--objective", "round_time"]
        code, out, _ = call(*arguments, "--retained-share", "1", "--solver", "hopeless")
    finally:
        unregister("hopeless")
    assert code == 1
    assert "Infeasible: no allocation fulfils RoundTime(retained=" in out


def test_a_solver_that_does_not_take_a_problem_says_who_does(call):
    def narrow(problem, request):
        """Takes the token problem only."""
        return Answer(None)

    register("narrow")(narrow)
    try:
        code, out, err = call("solve", "--family", "makespan", "--solver", "narrow")
    finally:
        unregister("narrow")
    assert (code, out) == (2, "")
    assert "solver 'narrow': got a problem with objective round_time; allowed: objectives ste. Take" in err
    assert "exact" in err


def test_objectives_on_the_command_line_are_all_there_are(call):
    assert tuple(OBJECTIVES) == solve_command.OBJECTIVES


def test_infeasible_problems_exit_with_1_and_the_diagnosis(call):
    arguments = ["solve", "--family", "infeasible", "--clients", 3, "--solver", "equal"]
    code, out, _ = call(*arguments, "--json")
    assert code == 1
    found = strict_json(out)
    assert found["stop"] == "infeasible"
    assert found["ste"] is None
    assert found["diagnosis"]["limit"] == "energy"
    assert found["diagnosis"]["needed"][0] > found["diagnosis"]["available"][0]
    code, out, _ = call(*arguments)
    assert code == 1
    assert "Infeasible: energy budget: client" in out


def test_an_allocation_that_breaks_limits_exits_with_1(call):
    code, out, _ = call("solve", "--family", "energy_tight", "--clients", 5, "--solver", "full")
    assert code == 1
    assert "Not feasible: limits exceeded: " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["solve"], "no problem"),
        (["solve", "a.npz", "--family", "paper"], "both a file and a family"),
        (["solve", "missing.npz"], "No such file"),
        (["solve", "problem.xml"], "the ending '.xml'"),
        (["solve", "--family", "papper"], "family 'papper'; allowed: paper"),
        (["solve", "--family", "paper", "--solver", "exakt"], "solver 'exakt'"),
        (["solve", "--family", "paper", "--solver", "equal", "--option", "speed=1"], "option 'speed'"),
        (["solve", "--family", "paper", "--solver", "equal", "--option", "speed"], "name=value"),
        (["solve", "--family", "paper", "--solver", "equal", "--option", "gap=1"], "option 'gap'"),
        (["solve", "--family", "paper", "--solver", "equal", "--gap", "-1"], "gap=-1.0"),
        (["solve", "--family", "paper", "--solver", "equal", "--gap", "nan"], "gap=nan"),
        (["solve", "--family", "paper", "--solver", "equal", "--time-limit", "0"], "time_limit_s=0.0"),
        (["solve", "--family", "paper", "--solver", "equal", "--seed", "-1"], "seed"),
        (["solve", "--family", "paper", "--solver", "equal", "--clients", "0"], "clients"),
        (["solve", "--family", "paper", "--solver", "equal", "--clients", "many"], "--clients"),
        (["solve", "--family", "paper", "--solver", "equal", "--speed"], "--speed"),
        (
            ["solve", "--family", "paper", "--objective", "speed"],
            "--objective 'speed'; allowed: ste, retained",
        ),
        (["solve", "--family", "paper", "--objective", "energy"], "the objective energy alone"),
        (["solve", "--family", "paper", "--round-s", "3"], "--round-s with retained, energy"),
        (["solve", "--family", "paper", "--objective", "round_time", "--retained", "nan"], "retained=nan"),
        (["solve", "--family", "makespan", "--retained-share", "1.1"], "--retained-share = 1.1"),
        (["solve", "--family", "makespan", "--retained-share", "1", "--retained", "1"], "one of them"),
        (["solve", "--family", "total_time", "--weight", "1,x"], "--weight 1,x; allowed: numbers"),
        (["solve", "--family", "total_time", "--weight", "1,2"], "got 2 weights; allowed: 20"),
        (["solve", "--family", "makespan", "--may-skip"], "True with round_time and nothing required"),
        (["solve", "--family", "paper", "--block-hz", "0"], "block_hz"),
        (["solve", "--family", "paper", "--max-psd", "-1"], "max_psd_w_per_hz"),
        (["bench", "--suite", "dmeo"], "suite 'dmeo'; allowed: demo, starts"),
        (["bench", "--solvers", "exakt"], "solver 'exakt'"),
        (["bench", "--families", "papper"], "family 'papper'"),
        (["bench", "--clients", "5,x"], "--clients 5,x; allowed: whole numbers"),
        (["bench", "--solvers", ","], "an empty list"),
        (["bench", "--clients", "0"], "clients"),
        (["bench", "--jobs", "0"], "jobs=0"),
        (["bench", "--solvers", "equal", "--jobs", "2", "--backend", "no_such"], "backend 'no_such'"),
        (["bench", "--override", "tokens"], "name=value"),
        (["finetune", "--methods", "sflora,magic"], "--methods 'magic'; allowed: local-lora, fed-lora"),
        (["finetune", "--partitions", "sorted"], "--partitions 'sorted'; allowed: dirichlet, iid"),
        (["finetune", "--measures", "magic"], "--measures 'magic'; allowed: attention, value_norm"),
        (["finetune", "--merges", "mean,magic"], "--merges 'magic'; allowed: attention, mean"),
        (["finetune", "--bits", "4"], "bits_per_element='4'; allowed: 8, 16, 32, each once"),
        (["finetune", "--device", "tpu"], "--device 'tpu'; allowed: auto, cpu, cuda"),
        (["finetune", "--cuts", "two"], "--cuts two; allowed: whole numbers"),
        (["reproduce", "fig7"], "target 'fig7'; allowed: table1"),
        (["reproduce", "--dataset", "roses"], "--dataset 'roses'; allowed: imagenet100"),
        (["reproduce", "--backbone", "vit_huge"], "--backbone 'vit_huge'; allowed: vit_tiny"),
        (["reproduce", "--partition", "sorted"], "--partition 'sorted'; allowed: dirichlet, iid"),
        (["reproduce", "--schemes", "sflora,magic"], "--schemes 'magic'; allowed: local-lora"),
        (["reproduce", "--device", "tpu"], "--device 'tpu'; allowed: auto, cpu, cuda"),
        (["unknown"], "unknown"),
    ],
)
def test_mistakes_exit_with_2_say_why_and_write_nothing(call, tmp_path, arguments, words):
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_exits_with_2_and_the_remedy(call):
    def absent(problem, request):
        """Needs a package that does not exist."""
        return Answer(None)

    register("absent", needs=("no_such_package_here",), extra="convex")(absent)
    try:
        code, _, err = call("solve", "--family", "paper", "--solver", "absent")
        listing = call("solvers")[1]
    finally:
        unregister("absent")
    assert code == 2
    assert 'pip install "stsflora[convex]"' in err
    assert "stsflora[convex]" in listing


def test_a_hostile_file_exits_with_2(call, tmp_path):
    np.savez(tmp_path / "hostile.npz", gain=np.array([print], dtype=object))
    code, out, err = call("solve", "hostile.npz")
    assert (code, out) == (2, "")
    assert err.startswith("Error: file 'hostile.npz': got ")
    assert err.count("\n") == 1


# solvers


def test_solvers_are_listed_for_people_and_scripts(call):
    code, out, _ = call("solvers", "--json")
    listed = strict_json(out)
    assert code == 0
    assert [entry["name"] for entry in listed] == [info.name for info in solvers()]
    assert {"summary", "proves", "needs", "available", "how_to_install", "options"} <= set(listed[0])
    for entry, info in zip(listed, solvers(), strict=True):
        assert {name: frozenset(has) for name, has in entry["takes"].items()} == info.takes
    code, out, _ = call("solvers")
    assert code == 0
    for info in solvers():
        assert info.name in out
    for name in FEATURES:
        assert f"{name}: " in out


def test_features_are_listed_by_what_is_shorter():
    assert [_features_text(has, "abcd") for has in ("", "a", "ab", "abc", "abcd")] == [
        "none",
        "a",
        "a, b",
        "all but d",
        "all",
    ]


# bench


def test_bench_writes_rows_report_and_says_where(call, tmp_path):
    code, out, _ = call(*BENCH, "--no-plots")
    assert code == 0
    folder = tmp_path / "results" / "bench-demo"
    assert sorted(entry.name for entry in folder.iterdir()) == ["report.md", "rows.jsonl"]
    assert len(read_rows(folder / "rows.jsonl")) == 4
    assert "In results/bench-demo: rows.jsonl, report.md" in out.replace(os.sep, "/")
    assert "equal" in (folder / "report.md").read_text()


def test_bench_prints_json_and_draws(call, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, _ = call(*BENCH, "--json", "--output", "here")
    found = strict_json(out)
    assert code == 0
    assert [entry["label"] for entry in found["summaries"]] == ["equal", "full"]
    assert sorted(found["files"]) == sorted(
        f"here{os.sep}{entry.name}" for entry in (tmp_path / "here").iterdir()
    )
    assert any(name.endswith(".png") for name in found["files"])


def test_bench_resumes_or_starts_fresh(call):
    first = strict_json(call(*BENCH, "--no-plots", "--json")[1])
    rows = read_rows(first["files"][0])
    assert strict_json(call(*BENCH, "--no-plots", "--json")[1]) == first
    assert read_rows(first["files"][0]) == rows
    call(*BENCH, "--no-plots", "--fresh")
    again = read_rows(first["files"][0])
    assert [row.key for row in again] == [row.key for row in rows]
    assert [row.solve_s for row in again] != [row.solve_s for row in rows]


def test_bench_reports_only_what_was_asked(call):
    call(*BENCH, "--no-plots")
    _, out, _ = call("bench", "--solvers", "full", *SMALL, "--no-plots", "--json")
    assert [entry["label"] for entry in strict_json(out)["summaries"]] == ["full"]


def test_bench_takes_options_that_are_lists(call):
    label = 'alternating:hold=["power","bandwidth"]'
    code, out, _ = call("bench", "--solvers", f"equal,{label}", *SMALL, "--no-plots", "--json")
    assert code == 0
    assert [entry["label"].replace(" ", "") for entry in strict_json(out)["summaries"]] == ["equal", label]


def test_bench_without_matplotlib_goes_on(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = call(*BENCH)
    assert code == 0
    assert "No pictures: bench: got no package matplotlib" in err
    assert 'pip install "stsflora[plot]"' in err


def test_an_interrupted_bench_keeps_its_rows_and_exits_with_130(call, tmp_path):
    def interrupted(problem, request):
        """Is interrupted by the user."""
        raise KeyboardInterrupt

    register("interrupted")(interrupted)
    try:
        code, _, err = call("bench", "--solvers", "equal,interrupted", *SMALL)
    finally:
        unregister("interrupted")
    assert code == 130
    assert "Stopped: 1 of 4 runs are in" in err
    assert len(read_rows(tmp_path / "results" / "bench-demo" / "rows.jsonl")) == 1


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_stops_all_processes(tmp_path):
    command = [
        sys.executable,
        "-m",
        "stsflora.experiments.cli.main",
        *BENCH,
        "--seeds",
        "200",
        "--jobs",
        "2",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    rows = tmp_path / "results" / "bench-demo" / "rows.jsonl"
    while not (rows.exists() and len(rows.read_bytes().splitlines()) > 20):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1].endswith("the same command goes on from there.")
    assert len(read_rows(rows)) > 20
    assert _ended(process.pid, within_s=20)


def _ended(group, within_s):
    """Whether the last process of a group ends in time."""
    limit = time.monotonic() + within_s
    while time.monotonic() < limit:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


# help


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["solve", "solvers", "bench"]),
        (["--help"], ["solve", "solvers", "bench", "Exit codes"]),
        (["solve", "--help"], ["Examples", "stsflora solve --family paper", "--time-limit", "--json"]),
        (["bench", "--help"], ["Examples", "minlp:engine=highs", "--fresh", "joblib", "speed-large"]),
        (["solvers", "--help"], ["--json"]),
    ],
)
def test_help_shows_options_and_examples(call, arguments, words):
    _, out, err = call(*arguments)
    for word in words:
        assert word in out + err


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("bench", [entry.name for entry in suites()]),
        ("finetune", [*METHODS, *PARTITIONS, *MEASURES, *MERGES, *DEVICES, "8, 16 or 32"]),
        ("reproduce", [*TARGETS, *DATASETS, *BACKBONES, *PARTITIONS, *SCHEMES, *DEVICES, "STSFLORA_DATA"]),
    ],
)
def test_help_names_every_choice(call, command, names):
    _, out, _ = call(command, "--help")
    for name in names:
        assert name in out


def loaded_by(*arguments):
    """What a fresh process knew of its threads when numpy was loaded; empty if it never was."""
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy': print('threads', os.environ.get('OMP_NUM_THREADS'), file=sys.stderr)\n"
        "sys.meta_path.insert(0, Watch())\n"
        "from stsflora.experiments.cli.main import main\n"
        f"main({list(arguments)!r})\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    return [line for line in done.stderr.splitlines() if line.startswith("threads")]


def test_help_is_instant_because_it_loads_no_numbers():
    assert loaded_by("--help") == []
    for command in ("solve", "solvers", "bench", "finetune", "reproduce"):
        assert loaded_by(command, "--help") == []


def test_bench_sets_one_thread_before_numpy_loads():
    assert loaded_by("bench", "--solvers", "exakt") == ["threads 1"]
    assert loaded_by("solvers") == ["threads None"]


@pytest.mark.parametrize("command", [("reproduce", "table2", "--quick"), ("bench", "--suite", "demo")])
def test_an_output_folder_that_cannot_be_made_is_refused_before_the_work(call, tmp_path, command):
    (tmp_path / "taken").touch()
    code, out, err = call(*command, "--output", str(tmp_path / "taken" / "deeper"))
    assert code != 0
    assert out == ""
    assert "no folder can be made" in err
    assert "Traceback" not in err


# results as data


def test_a_result_is_strict_json_whatever_is_in_it():
    def odd(problem, request):
        """Has odd stats."""
        stats = {"a": np.float64(math.nan), "b": np.arange(2), "c": object(), "d": {"e": (1, np.True_, None)}}
        return Answer(None, message="nothing", stats=stats)

    register("odd")(odd)
    try:
        values = solve(family("paper", 2, 0), "odd").as_dict()
    finally:
        unregister("odd")
    assert strict_json(json.dumps(values, allow_nan=False))["stats"] == {
        "a": None,
        "b": [0, 1],
        "d": {"e": [1, True, None]},
    }
    assert values["tokens"] is None
    assert values["gap"] is None


def test_an_allocation_comes_back_bit_by_bit(tmp_path):
    result = solve(family("paper", 4, 0), "equal")
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result.as_dict()))
    loaded = Allocation.load(path)
    for name in ("tokens", "bandwidth_hz", "power_w"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(result.allocation, name))
