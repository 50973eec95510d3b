"""Mutation run: which weakened formulas of bounds, physics and evaluation do the tests let pass?

    python tests/mutation.py [--only TEXT] [--minutes N] [--stages N] [--again FILE]

Works on a copy in a temporary folder, as plain Python, where no loop has to be compiled. Every mutant meets
the sharpest tests first, and what survives the next stage. Mutants that prove as much as the original are
listed with their reasons in `mutation_alive.txt`; they meet the first stage only. Fails if another one is
alive, or if a listed one is killed.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import itertools
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
PARTS: Final = ("stsflora", "solver", "benchmarks", "models", "experiments")
LISTED: Final = "tests/mutation_alive.txt"
FORK: Final = multiprocessing.get_context("fork")
PRELOADED: Final = (
    "numba",
    "numpy",
    "scipy.optimize",
    "scipy.stats",
    "hypothesis",
    "mpmath",
    "joblib",
    "rich",
)
"""Imported once: each run of tests is a fork of this process."""

FILES: Final = (
    *(
        f"solver/physics/{name}.py"
        for name in ("loops", "instance", "demand", "bandwidth", "uplink", "payload")
    ),
    *(
        f"solver/bounds/{name}.py"
        for name in (
            "dominance",
            "interval_search",
            "intervals",
            "goal",
            "clearing_price",
            "round_time",
            "price_cover",
            "bound_tightening",
        )
    ),
    "solver/evaluation.py",
    "solver/tolerances.py",
    "solver/feasibility.py",
    "solver/primal/delivery.py",
)

STAGES: Final = (
    (
        *("test_evaluation", "bounds/test_intervals", "physics/test_uplink", "test_lemmas"),
        "physics/test_bandwidth",
    ),
    (
        *(f"physics/test_{name}" for name in ("payload", "demand", "instance", "upper_bounds", "loops")),
        *(f"bounds/test_{name}" for name in ("bound_tightening", "clearing_price", "interval_search")),
        *("bounds/test_price_cover", "bounds/test_dominance", "test_feasibility"),
        *("physics/test_rounding", "physics/test_payload_table", "primal/test_delivery"),
    ),
    ("test_tolerance", "test_cliffs", "methods/test_exact"),
)
"""Each takes some times as long as the one before."""

ONLY_SPEED: Final = {
    # Why a mutant proves as much as the original: words in such lines, or names of functions.
    "where a search begins": ("guess", "fair_snr", "step +=", "step /="),
    "steps and ends of a search": ("MOST_STEPS", "LONGEST_STEP", "FIRST_PACE", "PATIENCE", "advance("),
    "steps inside a bracket": ("new = step", "new = math.sqrt", "step *= 2", "k = (low + high) // 2"),
    "keeps a search inside float64": ("LARGEST_EXPONENT", "LONGEST_S"),
    "widths of intervals, each of which is bounded": (
        *("CHORD_BEND", "OPEN_WIDTH", "LONGEST_DOWN", "LONGEST_STRETCH", "stretch", "margin", "width_of"),
        "_reach",
    ),
    "when to clear the market anew, or at which price or round time; any is valid": (
        *("FRESH_PRICE", "GOLDEN", "low, high = middle", "middle = math.log"),
        *("nearly_free", "usable_price", "shadow_price", "search_round_time", "MOST_CLEARINGS"),
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
    (r" \* ", " / "),
    (r" / ", " * "),
    (r"\bmax\(", "min("),
    (r"\bmin\(", "max("),
    (r" <= (?!math.inf)", " < "),
    (r" < (?!math.inf)", " <= "),
    (r" >= ", " > "),
    (r" > (?!-math.inf)", " >= "),
    (r" and ", " or "),
    (r" or ", " and "),
    (r"\bif not ", "if "),
    (r"\bTrue\b", "False"),
    (r"\bFalse\b", "True"),
    (r"\+ (doubt|unit|slack|hide|error_low|error_high)\b", r"+ 0.0 * \1"),
    (r"\b(instance\.unit|unit|doubt|rounding|hide) \*", r"0.0 * \1 *"),
    (r"\bdoubt \*=", "doubt *= 0.0 *"),
    (r"\b(\d+\.\d+(?:e-?\d+)?)(?![\w.])", lambda m: repr(0.6 * float(m[1]))),
    (r"\b(\d+\.\d+(?:e-?\d+)?)(?![\w.])", lambda m: repr(1.6 * float(m[1]))),
)


class Mutant(NamedTuple):
    """One line of one file with another text."""

    file: str
    function: str
    line: int
    before: str
    after: str

    @property
    def key(self) -> str:
        """What it is listed by: all but the number of the line."""
        return f"{self.file} {self.function}: {self.before}  ->  {self.after}"


def mutants(file: str, only: str = "") -> Iterator[Mutant]:
    """All of a file whose key has some text; docstrings, comments and what only changes speed left out."""
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
                mutant = Mutant(file, inside.get(number, "-"), number, code.strip(), after.strip())
                if after != code and only in mutant.key and is_another(text, number, after):
                    yield mutant


@lru_cache
def tree(text: str) -> str:
    """A program without its comments and line breaks."""
    return ast.dump(ast.parse(text))


def is_another(text: str, number: int, after: str) -> bool:
    """Whether the mutated file is Python and another program."""
    lines = text.splitlines()
    lines[number - 1] = after
    try:
        return ast.dump(ast.parse("\n".join(lines))) != tree(text)
    except SyntaxError:
        return False


def own_tests(file: str) -> tuple[str, ...]:
    """Tests of the module alone where they are in the second stage; for the two of the lemmas these are."""
    path = Path(file).relative_to("solver")
    name = path.with_name(f"test_{path.stem}").as_posix()
    return (name,) if name in STAGES[1] and path.stem not in {"loops", "dominance"} else ()


def listed() -> dict[str, str]:
    """Reason of every listed mutant by its key: a line that begins with # is the reason of those below."""
    reason, reasons = "", {}
    for line in (ROOT / LISTED).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            reason = line.lstrip("# ")
        elif line.strip():
            reasons[line.strip()] = reason
    return reasons


def test(copy: Path, tests: tuple[str, ...]) -> None:
    """Run tests in this process, which ends with it."""
    import pytest
    from hypothesis import HealthCheck, Phase, settings

    # A first counterexample is enough.
    settings.register_profile(
        "unshrunk",
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.explicit, Phase.generate],
    )
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.chdir(copy)
    sys.path.insert(0, str(copy / "package"))
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk"]
    os._exit(pytest.main([*options, *(f"tests/solver/{name}.py" for name in tests)]))


def passes(copy: Path, tests: tuple[str, ...], limit_s: float) -> bool:
    """Whether all tests pass in the copy; a run that never ends does not."""
    process = FORK.Process(target=test, args=(copy, tests))
    process.start()
    process.join(limit_s)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode == 0


def main() -> None:
    """Print each mutant that is alive and not listed, and how many were killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of 'file function: text' of the mutants to run")
    parser.add_argument("--minutes", type=float, default=600.0, help="end after about so long")
    parser.add_argument("--stages", type=int, default=len(STAGES), help="only so many")
    parser.add_argument("--again", type=Path, help="only those that a run before printed into this file")
    asked = parser.parse_args()
    reasons = listed()
    chosen = [m for file in FILES for m in mutants(file, asked.only)]
    if not asked.only and (gone := reasons.keys() - {m.key for m in chosen}):
        sys.exit("Listed, but not among the mutants:\n" + "\n".join(sorted(gone)))
    if asked.again:
        before = set(asked.again.read_text(encoding="utf-8").splitlines())
        chosen = [m for m in chosen if m.key in before]
    begin, killed, run, alive = time.monotonic(), 0, 0, 0
    living, dead = set[str](), set[str]()
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    for module in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(module)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in (*PARTS, "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "setup.cfg"):
            shutil.copy(ROOT / name, copy)
        (copy / "package").mkdir()
        shutil.copytree(copy / "stsflora", copy / "package/stsflora")
        for part in PARTS[1:]:
            (copy / "package/stsflora" / part).symlink_to(copy / part)
        stages = STAGES[: asked.stages]
        limits_s = []
        for tests in stages:
            start = time.monotonic()
            if not passes(copy, tests, 600.0):
                sys.exit(f"Without any mutant these fail: {' '.join(tests)}")
            limits_s.append(10.0 + 5.0 * (time.monotonic() - start))
        sys.dont_write_bytecode = True  # what is there is that of the originals, by their time
        for m in chosen:
            if time.monotonic() > begin + 60 * asked.minutes:
                break
            path, run = copy / m.file, run + 1
            text, time_ns = path.read_text(encoding="utf-8"), path.stat().st_mtime_ns
            lines = text.splitlines(keepends=True)
            lines[m.line - 1] = lines[m.line - 1].replace(m.before, m.after, 1)
            path.write_text("".join(lines), encoding="utf-8")
            known = m.key in reasons
            stages_met = list(zip(stages, limits_s, strict=True))[: 1 if known else None]
            if own := own_tests(m.file):
                stages_met.insert(0, (own, 60.0))
            lives = all(passes(copy, tests, limit_s) for tests, limit_s in stages_met)
            path.write_text(text, encoding="utf-8")
            os.utime(path, ns=(time_ns, time_ns))
            killed += not lives
            if lives and not known:
                alive += 1
                print(m.key, flush=True)
            elif known:
                (living if lives else dead).add(m.key)
    stale = sorted(dead - living)  # a key may stand for several mutants
    for key in stale:
        print(f"listed, but not alive: {key}", flush=True)
    counts = f"{killed} killed, {run - killed - alive} alive and listed, {alive} alive and not"
    print(f"{run} of {len(chosen)} mutants run: {counts}")
    sys.exit(alive > 0 or bool(stale))


if __name__ == "__main__":
    main()
