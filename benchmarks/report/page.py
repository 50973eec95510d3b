"""The page of a benchmark worth citing: every figure on it is computed from the rows beside it.

`stsflora bench --suite report --page docs/benchmark.md` runs and writes the page;
`python -m stsflora.benchmarks.report.page docs/benchmark.md` writes it again from its rows.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import typer

from ...solver import OptionError, Stop
from ...solver.files.file_access import make_folder, write_atomically
from ..rows import NOT_TAKEN, Row
from .archive import compact, read_archive, write_archive
from .objective_text import Wording, wording
from .pictures import save_pictures
from .sentences import failures, listed, notes, proof_sentence, software
from .standing import Judged, Standing, best_first, best_known, judge, label_of, standings
from .tables import close_share, page_tables
from .text_table import gap_text, seconds_text, share_text

WIDTH: Final = 120
"""Paragraphs are broken at so many characters."""

SHOWN: Final[Mapping[str, str]] = {
    "quality": "Share of instances by distance {worse} the optimum, for each number of clients",
    "map": "Distance {worse} the optimum by family, solver and number of clients, median and worst",
    "answers": "Share of instances answered within 1e-4 of the optimum against time",
    "time": "Time against the number of clients, and the performance profile",
}
"""The pictures of the page and what they show; of `Wording`, as is the legend."""

LEGEND: Final = """
Over the feasible instances. *Feasible*: the evaluator accepts the allocation. *{Worse}*: how far the {value}
is {worse} the best known, which is the optimum to the accuracy [stated below](#how-the-optimum-is-known);
100 % without an accepted allocation. *Proved*: by the solver itself, to the asked gap. *Limit reached*: a
limit of time or iterations ended the run; a solver may need a moment longer to stop.
"""


def write_page(rows: Sequence[Row], page: Path) -> list[Path]:
    """Write page, rows and pictures: `x.md`, `x.jsonl.gz` and `images/x_*.png`; return their paths.

    Args:
        rows: of one suite; those with a smaller asked gap than the others are references, see `Suite`.
        page: ends in .md.

    Raises:
        OptionError: the name of the page does not end in .md, or no solver ran on a feasible instance.
        MissingDependencyError: matplotlib is not installed.
        FileFormatError: the folder cannot be written.
    """
    if page.suffix != ".md":
        raise OptionError("the page", f"{str(page)!r}", "a name that ends in .md", "Correct it")
    kept = [compact(row) for row in rows]
    text = page_text(kept, page.stem)
    images = make_folder(page.parent / "images")
    ranked = best_first(competitors(judge(kept, best_known(kept))))
    drawn = save_pictures(ranked, images, SHOWN, f"{page.stem}_")
    archive = write_archive(kept, page.with_suffix(".jsonl.gz"))
    return [write_atomically(page, text.encode()), archive, *(images / name for name in drawn)]


def competitors(judged: Sequence[Judged]) -> list[Judged]:
    """The rows whose solvers are compared: those with the largest asked gap."""
    asked = max((entry.row.asked_gap for entry in judged), default=0.0)
    return [entry for entry in judged if entry.row.asked_gap == asked]


def page_text(rows: Sequence[Row], name: str) -> str:
    """The page as Markdown, with links to `name.jsonl.gz` and `images/name_*.png`.

    Raises:
        OptionError: no solver ran on a feasible instance.
    """
    judged = judge(rows, best_known(rows))
    compared = competitors(judged)
    ranked = best_first(compared)
    if not ranked:
        raise OptionError("the page", "no run on a feasible instance", "some", "Run a larger suite")
    words = wording(entry.row.goal for entry in ranked)
    shown = {
        key: f"![{text.format(worse=words.worse)}](images/{name}_{key}.png)\n" for key, text in SHOWN.items()
    }
    tables = page_tables([*ranked, *(entry for entry in compared if entry.row.stop == NOT_TAKEN)])
    parts = [
        "# Solver benchmark\n",
        _paragraph(_setting([entry.row for entry in compared])),
        _paragraph(
            f"All figures are computed from the rows of this run, [one per solve]({name}.jsonl.gz). "
            "The run, resumable, and this page:"
        ),
        "    stsflora bench --suite report --page docs/benchmark.md\n",
        "## In short\n",
        _in_short(compared, ranked, words),
        tables["solvers"].markdown(),
        _paragraph(LEGEND.format(worse=words.worse, Worse=words.worse.capitalize(), value=words.value)),
        *([tables["values"].markdown()] if any(entry.row.goal.name != "ste" for entry in ranked) else []),
        "## How far from the optimum\n",
        shown["quality"],
        shown["map"],
        tables["families"].markdown(3),
        tables["close"].markdown(3),
        "## How long it takes\n",
        shown["answers"],
        shown["time"],
        _paragraph("In the profile, instances on which a solver was not run count as not answered."),
        tables["times"].markdown(3),
        "## Where solvers fail\n",
        _list(failures(ranked) or ["Nowhere."]),
        "## How the optimum is known\n",
        _paragraph(f"{_references(judged, words)} {proof_sentence(best_known(rows))}"),
    ]
    if reasons := notes((entry.row for entry in compared), failures_only=True):
        parts += ["## Skips and errors\n", _list(reasons)]
    return "\n".join([*parts, _paragraph(software(rows))])


def _setting(rows: Sequence[Row]) -> str:
    """Instances, sizes, limits and what was spared whom."""
    sizes = sorted({row.clients for row in rows})
    parts = [
        f"{len({row.instance for row in rows}):,} instances: {len({row.family for row in rows})} "
        f"[families](../benchmarks/families.py), {_sizes(sizes)} clients x {max(row.tokens for row in rows)} "
        f"tokens, {len({row.seed for row in rows})} seeds. Every solver has its default options, an asked "
        f"gap of {gap_text(rows[0].asked_gap)}, {rows[0].time_limit_s:g} s for each solve, and one thread."
    ]
    for label in dict.fromkeys(row.label for row in rows):
        own = sorted({row.clients for row in rows if row.label == label})
        if own != sizes:
            parts.append(
                f"`{label}` runs at {_sizes(own)} clients only: larger ones would take about as long as all "
                "other runs together."
            )
    parts.append("The machine was shared with other work: compare times within this page only.")
    return " ".join(parts)


def _in_short(compared: Sequence[Judged], ranked: Sequence[Judged], words: Wording) -> str:
    """The list of findings at the top."""
    found = standings(ranked, label_of)

    def those(holds: Callable[[Standing], bool], text: Callable[[Standing], str] = lambda _: "") -> str:
        return listed([f"`{label}` {text(group)}".strip() for label, group in found.items() if holds(group)])

    lines = {
        "Within 1e-4 of the optimum on every feasible instance": those(lambda e: e.close == e.runs),
        "On most": those(lambda e: e.runs > e.close >= e.runs / 2, lambda e: f"({close_share(e)})"),
        "On fewer than half": those(lambda e: e.close < e.runs / 2, lambda e: f"({close_share(e)})"),
        "Optimality proved by the solver itself": those(
            lambda e: e.proved > 0, lambda e: f"({share_text(e.proved, e.runs)})"
        ),
        "Not feasible everywhere": those(
            lambda e: e.feasible < e.runs, lambda e: f"({share_text(e.feasible, e.runs)})"
        ),
        "Infeasible instances": _infeasible(compared),
        "Claims": _claims([entry for entry in compared if entry.row.ran], words),
    }
    return _list(f"{name}: {text.removesuffix('.')}." for name, text in lines.items() if text)


def _infeasible(compared: Iterable[Judged]) -> str:
    """What solvers said of infeasible instances; empty without any."""
    ran = [entry.row for entry in compared if entry.known.infeasible and entry.row.ran]
    if not ran:
        return ""
    said = sum(row.stop == Stop.INFEASIBLE for row in ran)
    return (
        f"{said:,} of {len(ran):,} runs said so and named clients and limit, after "
        f"{seconds_text(median(row.solve_s for row in ran))} in the median. `solve` proves this before any "
        "solver is called, so these runs are in no table."
    )


def _claims(ran: Sequence[Judged], words: Wording) -> str:
    """Whether any claim is contradicted."""
    wrong = Counter(entry.row.label for entry in ran if not entry.correct)
    if wrong:
        counts = listed([f"{count:,} of `{label}`" for label, count in wrong.items()])
        return f"{counts} among {len(ran):,} runs claim what other runs or the evaluator contradict."
    claims = f"{words.value}, bound or infeasibility claimed in {len(ran):,} runs"
    return f"no {claims} is contradicted by another run."


def _references(judged: Sequence[Judged], words: Wording) -> str:
    """How well the optimum is known, from runs with a smaller asked gap."""
    found = f"Distances are measured from the best {words.value} that any run found on the instance."
    least, largest = (pick(entry.row.asked_gap for entry in judged) for pick in (min, max))
    if least == largest:
        return found
    references = [entry.row for entry in judged if entry.competes and entry.row.asked_gap == least]
    solved = listed(sorted({f"`{row.label}`" for row in references}))
    proved = sum(row.gap <= least for row in references)
    seconds = [row.solve_s for row in references]
    return (
        f"{found} To know the optimum well, {solved} solved every instance once more at a gap of "
        f"{gap_text(least)}; that was proved on {proved:,} of {len(references):,}, and the largest gap "
        f"left is {gap_text(max(row.gap for row in references))}. A solve took "
        f"{seconds_text(median(seconds))} in the median and {seconds_text(max(seconds))} at most. These "
        "runs are in no table."
    )


def _sizes(sizes: Sequence[int]) -> str:
    """Numbers as "5, 20 and 1,000"."""
    return listed([f"{size:,}" for size in sizes])


def _list(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "".join(_paragraph(line, "- ") for line in lines)


def _paragraph(text: str, first: str = "") -> str:
    """Text broken at `WIDTH`, its first line begun with `first`."""
    lines = textwrap.wrap(
        first + " ".join(text.split()),
        WIDTH,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines) + "\n"


app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def again(page: Annotated[Path, typer.Argument(help="The page, with its rows beside it.")]) -> None:
    """Write a page and its pictures again from its rows."""
    for path in write_page(read_archive(page.with_suffix(".jsonl.gz")), page):
        typer.echo(path)


if __name__ == "__main__":
    app()
