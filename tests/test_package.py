"""The project as a package: light imports, one import name, everything shipped, nothing left lying about."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("solver", "models", "benchmarks", "experiments")
SOURCES = sorted(path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

HEAVY = ("torch", "timm", "peft", "cvxpy", "pyomo", "pyscipopt", "numba", "matplotlib", "scipy.optimize")


def modules_after(statement: str) -> set[str]:
    """Names in sys.modules of a fresh interpreter after one statement, run far from the checkout."""
    code = f"import sys; {statement}; print(chr(10).join(sys.modules))"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.anchor
    )
    return set(finished.stdout.split())


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, module) of every import statement in a file."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.level, name) for name in names]
    return found


def test_the_solver_imports_light() -> None:
    loaded = modules_after("import stsflora.solver")
    assert "stsflora.solver.methods" in loaded
    assert not [name for name in HEAVY if name in loaded]


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


ALLOWED = {
    "solver": {"solver"},
    "models": {"models", "solver"},
    "benchmarks": {"benchmarks", "models", "solver"},
    "experiments": {"experiments", "benchmarks", "models", "solver"},
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_point_one_way(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    for level, module in imports(path):
        if level == 0:
            assert not module.startswith("stsflora."), "import relatively inside the packages"
        elif level == len(parts):  # out of the own package, as in `from ..solver import Problem`
            assert module.partition(".")[0] in ALLOWED[parts[0]]
        else:
            assert level < len(parts)


def test_every_folder_is_listed_for_installation() -> None:
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(configuration["options"]["packages"].split())
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert {f"stsflora.{folder}" for folder in folders} == listed
    tops = {folder.partition(".")[0] for folder in folders}
    mapped = dict(line.split(" = ") for line in configuration["options"]["package_dir"].strip().splitlines())
    assert mapped == {f"stsflora.{top}": top for top in tops}
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
