"""The named suites of `stsflora bench`."""

from __future__ import annotations

from .suite import Suite


def suites() -> tuple[Suite, ...]:
    """All named suites."""
    fast = ("exact", "alternating", "greedy")
    relaxations = tuple(f"relaxed:engine={engine}" for engine in ("clarabel", "ecos", "highs"))
    starts = tuple(f"alternating:starts={start}" for start in ("min_tokens", "full", "random"))
    return (
        Suite(
            name="demo",
            summary="Do simple rules and local search reach the certified optimum?",
            solvers=(*fast, "shi", "equal", "full", "random"),
            families=(
                *("paper", "round_time", "min64", "heterogeneous", "energy_tight", "deadline_tight"),
                *("flat", "infeasible"),
            ),
            time_limit_s=10.0,
        ),
        Suite(
            name="starts",
            summary="How far from the optimum do local search and greedy end, by family and start?",
            solvers=("exact", "greedy", *starts),
            families=(
                *("paper", "round_time", "energy_tight", "deadline_tight", "min64", "heterogeneous"),
                *("steep", "flat", "ties", "extreme"),
            ),
            seeds=10,
            gap=1e-6,
        ),
        Suite(
            name="speed",
            summary="How does the time grow from 10 to 10,000 clients? Single thread, median of 7.",
            solvers=fast,
            families=("paper",),
            clients=(10, 20, 100, 1_000, 10_000),
            repeats=7,
        ),
        Suite(
            name="speed-large",
            summary="The speed suite at up to 100,000 clients; takes minutes and gigabytes.",
            solvers=fast,
            families=("paper",),
            clients=(100, 1_000, 10_000, 100_000),
            seeds=1,
            repeats=3,
            time_limit_s=300.0,
        ),
        Suite(
            name="conic",
            summary="How much faster is the certificate than the convex relaxation on open engines?",
            solvers=("exact", *relaxations),
            families=("paper",),
            clients=(20, 100, 200),
            repeats=3,
        ),
        Suite(
            name="agreement",
            summary="Do independent formulations on independent engines agree on small instances?",
            solvers=("exact", *relaxations, "minlp"),
            families=("paper", "round_time", "heterogeneous", "energy_tight", "deadline_tight"),
            clients=(2, 4),
            seeds=2,
            overrides={"tokens": 32},
        ),
        Suite(
            name="report",
            summary="How far from the certified optimum does each solver end, and after what time?",
            clients=(5, 20, 100, 1_000),
            seeds=20,
            time_limit_s=5.0,
            largest={"minlp": 20},
            reference_gap=1e-6,
        ),
        Suite(
            name="general",
            summary="Who solves what beyond the token problem: other objectives, alternatives, caps, blocks?",
            families=(
                *("makespan", "energy", "total_time", "selection", "weighted", "tokens_x_bits"),
                *("tokens_x_bits_x_cut", "cut_x_frequency", "skip", "psd_limited", "resource_blocks"),
            ),
            clients=(5, 20),
            time_limit_s=20.0,
        ),
        Suite(
            name="all",
            summary="Every registered solver on every family of the token problem.",
            clients=(5, 20),
            seeds=2,
            time_limit_s=20.0,
        ),
    )


def suite(name: str) -> Suite:
    """The suite of that name. Raises UnknownNameError."""
    from ...solver import UnknownNameError  # loads numpy, which a command's help does without

    known = {entry.name: entry for entry in suites()}
    if name not in known:
        raise UnknownNameError(
            "bench", f"suite {name!r}", ", ".join(known), "Run `stsflora bench --help` for details"
        )
    return known[name]
