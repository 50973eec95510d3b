"""The project as a package: light imports, one import name, everything shipped, nothing left lying about."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.imports import PACKAGES, SOURCES, arrows, imports
from helpers.paths import ROOT

TESTS = sorted((ROOT / "tests").rglob("*.py"))

HEAVY = ("torch", "timm", "peft", "cvxpy", "pyomo", "pyscipopt", "numba", "matplotlib", "scipy.optimize")


def modules_after(statement: str) -> set[str]:
    """Names in sys.modules of a fresh interpreter after one statement, run far from the checkout."""
    code = f"import sys; {statement}; print(chr(10).join(sys.modules))"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.anchor
    )
    return set(finished.stdout.split())


def test_the_solver_imports_light() -> None:
    loaded = modules_after("import stsflora.solver")
    assert "stsflora.solver.methods" in loaded
    assert not [name for name in HEAVY if name in loaded]


def test_the_face_imports_nothing() -> None:
    """`stsflora.solve` and others are there on first use."""
    assert not [name for name in modules_after("import stsflora") if name.startswith(("numpy", "stsflora."))]
    assert "stsflora.solver" in modules_after("import stsflora; stsflora.solve")


def test_the_face_shows_what_it_has() -> None:
    import stsflora
    from stsflora import solver

    assert {"Problem", "__version__", "evaluate", "solve"} <= set(dir(stsflora))
    assert (stsflora.Problem, stsflora.solve, stsflora.evaluate) == (
        solver.Problem,
        solver.solve,
        solver.evaluate,
    )
    assert stsflora.__version__ == version("stsflora")
    with pytest.raises(AttributeError, match="no attribute 'solvers'"):
        stsflora.solvers  # noqa: B018


def test_a_checkout_on_the_path_finds_its_parts() -> None:
    """Without any installation: only the checkout and what it requires."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import stsflora, stsflora.solver, stsflora.experiments.cli\n"
        "print(stsflora.solver.__file__)\n"
        "try:\n    import stsflora.stsflora\nexcept ImportError as error:\n    print(error)"
    )
    finished = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.anchor
    )
    where, inside = finished.stdout.splitlines()
    assert Path(where) == ROOT / "solver" / "__init__.py"
    assert "found inside itself" in inside


@pytest.mark.slow
def test_type_checkers_follow_the_installation(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(
        "import stsflora\nfrom stsflora.benchmarks.families import family\n"
        "from stsflora.solver import solve\n"
        "reveal_type(solve(family('paper', 3, 0)).ste)\nreveal_type(stsflora.solve(1))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "user.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert 'Revealed type is "float"' in finished.stdout
    assert 'incompatible type "int"; expected "Problem"' in finished.stdout
    assert "missing library stubs" not in finished.stdout


def test_listing_solvers_imports_no_engine() -> None:
    loaded = modules_after(
        "from stsflora.solver import solvers; [(s.available, s.how_to_install) for s in solvers()]"
    )
    assert not [name for name in HEAVY if name in loaded]


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_imports_a_folder_as_top_level_package(path: Path) -> None:
    """From the checkout `import solver` succeeds too, but as another module with another registry."""
    for level, module in imports(path):
        assert level > 0 or module.partition(".")[0] not in PACKAGES


def test_the_trap_is_real() -> None:
    """The guard above is needed: run from the checkout, the wrong name loads a second registry."""
    code = "import solver, stsflora.solver as right; print(solver.Problem is right.Problem)"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert finished.stdout.strip() == "False"


STOREYS: dict[str, tuple[str, ...]] = {
    "": ("solver", "models", "benchmarks", "experiments"),
    "solver": (
        *("errors", "units", "tolerances", "gap_budget", "checks", "random_streams"),
        *("files", "objective", "problem_fields", "problem", "allocation"),
        *("physics", "evaluation", "result", "feasibility", "method"),
        *("bounds", "primal", "conic", "minlp"),
        *("registry", "solver_text", "methods", "reference", "solve", "solve_many"),
        *("solve_stacked", "repair"),
        "allocator",
    ),
    "solver/files": ("file_access", "json_files", "problem_files"),
    "solver/physics": (
        *("jit", "instance", "loops", "options", "option_loops", "price_loops"),
        *("uplink", "bandwidth", "payload", "demand", "bracket"),
    ),
    "solver/bounds": (
        *("goal", "intervals", "clearing_price", "round_time"),
        *(
            "dominance",
            "bound_tightening",
            "price_cover",
            "interval_search",
            "block_knapsack",
        ),
        *("choice_goal", "choice_loops", "choice_search"),
        *("priced_menu", "priced_choices", "priced_rounds"),
    ),
    "solver/primal": (
        *("delivery", "dinkelbach", "optimum", "whole_search", "warm_start"),
        *("rounding", "blocks", "initial_points", "priced_search", "block_search"),
        *("choice_delivery", "first_choices", "choice_optimum", "given_choice", "best_choice"),
    ),
    "solver/conic": (
        *("engines", "data", "waiting", "program", "engine_run"),
        *("round_data", "round_program", "round_bounds", "round_search"),
    ),
    "solver/minlp": (
        *("engines", "pieces", "entropy", "choices", "serving", "first_choices"),
        *("option_model", "option_search", "model", "process", "scip", "worker"),
    ),
    "solver/methods": ("exact", "alternating", "greedy", "relaxed", "minlp", "nlp", "rules"),
    "solver/allocator": (
        *("channel_state", "utility", "client", "conversion", "client_record", "validation"),
        *("plan", "plan_problem", "admission", "allocator"),
    ),
    "models": ("cell", "data", "partition", "alternatives", "vit"),
    "models/cell": ("device", "fading", "mobility", "cell"),
    "models/vit": (
        *(
            "names",
            "quantisation",
            "torch_parts",
            "timm_parts",
            "adapter",
            "backbone",
            "split",
            "tokens",
            "attention",
            "memory",
        ),
    ),
    "benchmarks": (
        *("paper_cell", "general_families", "families", "rows", "job", "run", "versions"),
        *("suites", "report", "studies"),
    ),
    "benchmarks/suites": ("suite", "named", "plan"),
    "benchmarks/report": (
        *("records", "text_table", "drawing", "objective_text", "standing", "sentences"),
        *("tables", "pictures"),
        *("report", "archive", "page"),
    ),
    "benchmarks/studies": (
        *("timing", "convex_forms", "drop_in", "warm_start", "peers", "speed_worker", "speed"),
        *("general_peers", "general"),
    ),
    "experiments": ("field_info", "finetune", "paper", "flower", "cli"),
    "experiments/finetune": (
        *(
            "bit_depths",
            "config",
            "packages",
            "checkpoint",
            "device",
            "client_tokens",
            "client",
            "training_steps",
        ),
        *("schemes", "run", "uplink", "client_pool", "train"),
        *("run_records", "report"),
    ),
    "experiments/paper": (
        *("settings", "comparison", "report", "provenance", "figures", "pictures"),
        *("figure6", "figure8", "figure9", "table1", "table2", "figure10", "joint", "targets"),
    ),
    "experiments/flower": (
        *("certificates", "relay", "messages", "settings", "client_app", "grid_clients"),
        *("server_app", "loopback"),
    ),
    "experiments/cli": (
        *("option_types", "output", "objective_options", "solve", "solvers", "bench"),
        *("finetune", "reproduce", "main"),
    ),
}
"""Order of the files and folders of each folder, from the ground up: whoever imports, imports downwards."""


@pytest.mark.parametrize("folder", STOREYS)
def test_every_file_and_folder_stands_on_a_storey(folder: str) -> None:
    """A new one has to be entered above; `__init__` is the roof of its folder."""
    depth = len(Path(folder).parts)
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in SOURCES]
    inside = {part[depth] for part in parts if part[:depth] == Path(folder).parts} - {"__init__"}
    assert len(set(STOREYS[folder])) == len(STOREYS[folder])
    assert inside == set(STOREYS[folder])


def test_every_folder_has_storeys() -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() for path in SOURCES}
    assert folders | {""} == set(STOREYS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    """Functions' own imports and those for types count too, so there is no circle anywhere."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    assert not [module for level, module in imports(path) if not level and module.startswith("stsflora.")], (
        "import relatively inside the packages"
    )
    for target in arrows(path):
        shared = 0
        while shared < min(len(parts), len(target)) and parts[shared] == target[shared]:
            shared += 1
        if parts[shared:] == ("__init__",):
            continue
        assert shared < len(target), f"{target} holds this file"
        order = STOREYS["/".join(parts[:shared])]
        assert order.index(target[shared]) < order.index(parts[shared]), target


def test_every_folder_is_listed_for_installation() -> None:
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(configuration["options"]["packages"].split())
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert {"stsflora", *(f"stsflora.{folder}" for folder in folders)} == listed
    tops = {folder.partition(".")[0] for folder in folders}
    mapped = dict(line.split(" = ") for line in configuration["options"]["package_dir"].strip().splitlines())
    assert mapped == {"stsflora": "stsflora", **{f"stsflora.{top}": top for top in tops}}
    for top in tops:
        assert (ROOT / top / "py.typed").is_file()
        assert "py.typed" in configuration["options.package_data"][f"stsflora.{top}"].split()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_leftovers(path: Path) -> None:
    """Only a command prints; nothing breaks into a debugger, evaluates text or unpickles."""
    is_command = 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    forbidden = {"breakpoint", "eval", "exec"} | (set() if is_command else {"print"})
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in forbidden
    assert not {module for _, module in imports(path)} & {"pickle", "pdb", "shelve", "marshal"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "?", ":"))
