"""Mutation run: which weakened formulas of bounds, physics and evaluation do the tests let pass?

    python tests/mutation.py [--only TEXT] [--minutes N]

Works on a copy in a temporary folder. Every mutant first meets the quick tests as plain Python, where no loop
has to be compiled; what survives meets all chosen tests. Seconds per mutant that is killed, a minute else.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
PARTS: Final = ("stsflora", "solver", "benchmarks", "models", "experiments")

FILES: Final = (
    "solver/tolerances.py",
    "solver/physics/loops.py",
    "solver/bounds/dominance.py",
    "solver/physics/instance.py",
    "solver/evaluation.py",
    "solver/feasibility.py",
    "solver/primal/delivery.py",
    *(
        f"solver/bounds/{name}.py"
        for name in (
            "goal",
            "intervals",
            "interval_search",
            "price_cover",
            "clearing_price",
            "bound_tightening",
        )
    ),
)

QUICK: Final = (
    "tests/solver/test_lemmas.py",
    "tests/solver/test_evaluation.py",
    "tests/solver/bounds/test_intervals.py",
)
ALL: Final = (
    "tests/solver/physics",
    "tests/solver/bounds",
    "tests/solver/test_feasibility.py",
    "tests/solver/test_tolerance.py",
    "tests/solver/test_cliffs.py",
    "tests/solver/methods/test_exact.py",
)

ONLY_SPEED: Final = {
    # Why a mutant proves as much as the original: words in such lines, or names of functions.
    "where a search begins": ("guess", "fair_snr", "step +=", "step /="),
    "steps and ends of a search": ("MOST_STEPS", "LONGEST_STEP", "FIRST_PACE", "PATIENCE", "advance("),
    "steps inside a bracket": ("new = step", "new = math.sqrt", "step *= 2", "k = (low + high) // 2"),
    "keeps a search inside float64": ("LARGEST_EXPONENT", "LONGEST_S"),
    "widths of intervals, each of which is bounded": (
        *("CHORD_BEND", "OPEN_WIDTH", "LONGEST_DOWN", "LONGEST_STRETCH", "stretch", "margin", "width_of"),
        *("_reach", "_march"),
    ),
    "when to clear the market anew, or at which price; any is valid": (
        *("FRESH_PRICE", "GOLDEN", "low, high = middle", "middle = math.log"),
        *("nearly_free", "usable_price", "shadow_price"),
    ),
    "when to give up": ("INTERVALS_PER_NODE", "FINEST", "BRANCHED", "MOST_SPLITS", "MOST_STATES"),
    "how often a box is narrowed": ("NARROWINGS", "PASSES"),
    "how many candidates are handed back": ("MOST_VECTORS",),
    "where series and iteration are equally good": ("NEAR_LIMIT",),
    "Newton's step; what it leaves of the slope is charged": ("curvature", "abs(residual) <="),
    "proves nothing": ("BOUND_CONTRADICTION", "CLAIM", "TOKEN_FIT", "within_tolerance"),
}

SWAPS: Final = (
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r"\bmax\(", "min("),
    (r"\bmin\(", "max("),
    (r" <= (?!math.inf)", " < "),
    (r" < (?!math.inf)", " <= "),
    (r"\+ (doubt|unit|slack|hide|error_low|error_high)\b", r"+ 0.0 * \1"),
    (r"\b(instance\.unit|unit|doubt|rounding|hide) \*", r"0.0 * \1 *"),
    (r"\bdoubt \*=", "doubt *= 0.0 *"),
    (r"\b(\d+\.\d+(?:e-?\d+)?)(?![\w.])", lambda m: repr(0.6 * float(m[1]))),
    (r"\b(\d+\.\d+(?:e-?\d+)?)(?![\w.])", lambda m: repr(1.6 * float(m[1]))),
)


class Mutant(NamedTuple):
    """One line of one file with another text."""

    file: str
    line: int
    before: str
    after: str


def mutants(file: str) -> Iterator[Mutant]:
    """All of a file, docstrings, comments and what only changes speed left out."""
    text = (ROOT / file).read_text(encoding="utf-8")
    inside: dict[int, str] = {}
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            inside |= dict.fromkeys(range(node.lineno, (node.end_lineno or 0) + 1), node.name)
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            prose |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    for number, line in enumerate(text.splitlines(), 1):
        code = line.partition("  #")[0]
        words = itertools.chain(*ONLY_SPEED.values())
        skipped = any(word in code or word == inside.get(number) for word in words)
        if number in prose or skipped or code.lstrip().startswith(("#", "def ", "class ", "@")):
            continue
        for pattern, replacement in SWAPS:
            for match in re.finditer(pattern, code):
                changed = match.expand(replacement) if isinstance(replacement, str) else replacement(match)
                after = code[: match.start()] + changed + code[match.end() :]
                if after != code and is_another(text, number, after):
                    yield Mutant(file, number, code.strip(), after.strip())


def is_another(text: str, number: int, after: str) -> bool:
    """Whether the mutated file is Python and another program."""
    lines = text.splitlines()
    lines[number - 1] = after
    try:
        return ast.dump(ast.parse("\n".join(lines))) != ast.dump(ast.parse(text))
    except SyntaxError:
        return False


def passes(copy: Path, tests: tuple[str, ...], plain: bool) -> bool:
    """Whether all tests pass in the copy; a run that never ends does not."""
    environment = os.environ | {
        "PYTHONPATH": str(copy / "package"),
        "NUMBA_CACHE_DIR": str(copy / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if plain:
        environment["NUMBA_DISABLE_JIT"] = "1"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        return not subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, timeout=600, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return False


def main() -> None:
    """Print each mutant that is alive, and how many were killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of 'file:line: text' of the mutants to run")
    parser.add_argument("--minutes", type=float, default=600.0, help="end after about so long")
    parser.add_argument("--quick", action="store_true", help="only the quick tests")
    asked = parser.parse_args()
    chosen = [m for file in FILES for m in mutants(file) if asked.only in f"{m.file}:{m.line}: {m.before}"]
    end, killed, run = time.monotonic() + 60 * asked.minutes, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in (*PARTS, "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        (copy / "package").mkdir()
        shutil.copytree(copy / "stsflora", copy / "package/stsflora")
        for part in PARTS[1:]:
            (copy / "package/stsflora" / part).symlink_to(copy / part)
        if not passes(copy, QUICK, True):
            sys.exit("The tests fail without any mutant.")
        for m in chosen:
            if time.monotonic() > end:
                break
            path, run = copy / m.file, run + 1
            text = path.read_text(encoding="utf-8")
            lines = text.splitlines(keepends=True)
            lines[m.line - 1] = lines[m.line - 1].replace(m.before, m.after, 1)
            path.write_text("".join(lines), encoding="utf-8")
            alive = passes(copy, QUICK, True) and (asked.quick or passes(copy, ALL, False))
            path.write_text(text, encoding="utf-8")
            killed += not alive
            if alive:
                print(f"alive: {m.file}:{m.line}: {m.before}  ->  {m.after}", flush=True)
    print(f"{run} of {len(chosen)} mutants run, {killed} killed")


if __name__ == "__main__":
    main()
