"""Files of problems with alternatives, skipping, caps, blocks and objectives keep every bit."""

import io
import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stsflora.benchmarks.families import family, general_families
from stsflora.solver import (
    Energy,
    FileFormatError,
    Problem,
    ProblemError,
    Retained,
    RoundTime,
    Ste,
    StsfloraError,
    TotalTime,
    Weighted,
)

POSITIVE = st.floats(1e-3, 1e3)
MAYBE_INFINITE = st.one_of(POSITIVE, st.just(np.inf))

OBJECTIVES = (
    Retained(0.1),
    RoundTime(),
    RoundTime(1 / 3),
    Weighted(0.1, 1 / 7),
    Weighted(0.1),
    Energy(1 / 3),
    Energy(1 / 3, retained=1e-9),
    TotalTime(),
    TotalTime(0.1),
    TotalTime([0.1, 1 / 3]),
    TotalTime([2.0, 2.0]),
)


@st.composite
def objectives(draw, clients):
    weight = draw(st.one_of(POSITIVE, st.lists(POSITIVE, min_size=clients, max_size=clients)))
    kinds = (
        Retained(draw(POSITIVE)),
        RoundTime(draw(POSITIVE)),
        Weighted(draw(POSITIVE), draw(POSITIVE)),
        Energy(draw(POSITIVE), draw(POSITIVE)),
        TotalTime(weight),
    )
    return draw(st.sampled_from(kinds))


@st.composite
def general_problems(draw) -> Problem:
    """Any of the fields, some of one value for all."""
    clients, tokens = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    rows = clients + draw(st.integers(0, 3))
    client = draw(
        st.permutations(
            [*range(clients), *(draw(st.integers(0, clients - 1)) for _ in range(rows - clients))]
        )
    )
    objective = draw(objectives(clients))
    most = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, tokens)))
    worth = draw(hnp.arrays(np.float64, (rows, tokens + 1), elements=st.floats(0, 10)))
    worth[0, 0] = 1.0
    bits = np.cumsum(draw(hnp.arrays(np.float64, (rows, tokens + 1), elements=POSITIVE)), axis=1)
    skips = objective.maximises or objective.least_retained > 0
    return Problem(
        gain=draw(hnp.arrays(np.float64, rows, elements=st.floats(1e-14, 1e-4))),
        utility=worth if draw(st.booleans()) or tokens == 0 else None,
        importance=draw(hnp.arrays(np.float64, (rows, tokens), elements=POSITIVE)),
        payload_bits=bits if draw(st.booleans()) else None,
        bits_per_token=draw(POSITIVE),
        bandwidth_hz=draw(POSITIVE),
        max_power_w=draw(POSITIVE),
        max_energy_j=draw(hnp.arrays(np.float64, rows, elements=MAYBE_INFINITE)),
        min_tokens=draw(st.one_of(st.none(), st.just(0))),
        max_tokens=most,
        client=client,
        may_skip=draw(hnp.arrays(np.bool_, clients)) if skips else False,
        before_j=draw(hnp.arrays(np.float64, rows, elements=st.floats(0, 1))),
        max_psd_w_per_hz=draw(hnp.arrays(np.float64, rows, elements=MAYBE_INFINITE)),
        max_bps_per_hz=draw(hnp.arrays(np.float64, rows, elements=MAYBE_INFINITE)),
        block_hz=draw(st.one_of(st.none(), POSITIVE)),
        objective=objective,
    )


def two_clients(**changes) -> Problem:
    """Three rows of two clients, with most of what a problem may have."""
    values = {
        "gain": [1e-9, 2e-9, 2e-9],
        "importance": [[3.0, 2.0], [5.0, 0.5], [4.0, 0.1]],
        "bits_per_token": 1e6,
        "bandwidth_hz": 1e7,
        "max_power_w": 0.2,
        "max_energy_j": [0.8, np.inf, 0.7],
        "client": [1, 0, 1],
        "before_j": [0.1, 0.0, 1 / 3],
        "max_psd_w_per_hz": [np.inf, 1e-7, 1 / 3e7],
        "max_bps_per_hz": 7.0,
        "block_hz": 180e3,
        "max_tokens": [2, 0, 1],
        "objective": RoundTime(),
    }
    return Problem(**(values | changes))


def stored(**changes) -> dict[str, object]:
    """Fields of a file of `two_clients`, some changed; None leaves one out."""
    problem = two_clients()
    values = {name: value for name, value in problem.as_dict().items() if name != "objective"}
    values["may_skip"] = problem.may_skip.astype(np.int64)
    return {name: value for name, value in (values | changes).items() if value is not None}


def npz_file(path, values):
    buffer = io.BytesIO()
    np.savez(buffer, **values)
    path.write_bytes(buffer.getvalue())
    return path


def json_file(path, values):
    def text(value):
        if isinstance(value, np.ndarray):
            return json.loads(json.dumps(value.tolist()).replace("Infinity", '"inf"'))
        return value

    path.write_text(json.dumps({name: text(value) for name, value in values.items()}))
    return path


ENDINGS = pytest.mark.parametrize("ending", [".npz", ".json"])


@ENDINGS
@given(problem=general_problems())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_field_survives_bit_by_bit(tmp_path, ending, problem):
    path = tmp_path / f"problem{ending}"
    problem.save(path)
    loaded = Problem.load(path)
    assert loaded == problem
    assert type(loaded.objective) is type(problem.objective)
    for name, value in problem.as_dict().items():
        if isinstance(value, np.ndarray):
            assert getattr(loaded, name).dtype == value.dtype, name


@ENDINGS
@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_every_objective_survives(tmp_path, ending, objective):
    path = tmp_path / f"problem{ending}"
    two_clients(objective=objective).save(path)
    assert Problem.load(path).objective == objective


@ENDINGS
@pytest.mark.parametrize("name", general_families())
def test_every_general_family_survives(tmp_path, ending, name):
    problem = family(name, 3, 0, tokens=6)
    problem.save(tmp_path / f"problem{ending}")
    assert Problem.load(tmp_path / f"problem{ending}") == problem


@ENDINGS
def test_all_rows_of_one_client_survive(tmp_path, ending):
    """Equal numbers are written once in JSON, but one number would not be a client for every row."""
    problem = replace(family("round_time", 3, 0, tokens=4), client=[0, 0, 0], may_skip=False)
    problem.save(tmp_path / f"problem{ending}")
    assert Problem.load(tmp_path / f"problem{ending}") == problem


def test_plain_problems_have_no_new_fields_in_their_files(tmp_path):
    family("paper", 2, 0, tokens=3).save(tmp_path / "problem.json")
    names = {field.name for field in fields(Problem)}
    later = {"utility", "client", "may_skip", "before_j", "max_psd_w_per_hz", "max_bps_per_hz", "block_hz"}
    written = json.loads((tmp_path / "problem.json").read_text())
    assert set(written) == names - later - {"objective", "max_tokens", "payload_bits"}


@ENDINGS
def test_a_skip_may_be_a_number_or_a_truth_value(tmp_path, ending):
    write = npz_file if ending == ".npz" else json_file
    path = write(tmp_path / f"a{ending}", stored(may_skip=1))
    assert Problem.load(path).may_skip.all()
    if ending == ".json":
        path = json_file(tmp_path / "b.json", stored(may_skip=np.array([True, False])))
        assert Problem.load(path).may_skip.tolist() == [True, False]


HOSTILE = {
    "two objectives": ({"objective.energy.round_s": 1.0, "objective.retained.round_s": 1.0}, "one objective"),
    "no round time": ({"objective.energy.retained": 1.0}, "without round_s"),
    "no such setting": ({"objective.ste.round_s": 1.0}, "unknown field 'objective.ste.round_s'"),
    "no such objective": ({"objective.speed": 1.0}, "unknown field 'objective.speed'"),
    "an objective as such": ({"objective": 1.0}, "unknown field 'objective'"),
    "a list of round times": ({"objective.energy.round_s": np.array([1.0, 2.0])}, "Energy: got round_s="),
    "a round time of 0": ({"objective.energy.round_s": 0.0}, "round_s=0.0"),
    "a negative weight": ({"objective.total_time.weight": -1.0}, "TotalTime.weight"),
    "weights of other clients": ({"objective.total_time.weight": np.array([1.0, 2.0, 3.0])}, "3 weights"),
    "two by two weights": ({"objective.total_time.weight": np.ones((2, 2))}, "TotalTime.weight"),
    "no price": ({"objective.weighted.per_second": 0.0}, "per_second"),
    "skips of other clients": ({"may_skip": np.array([1, 0, 1])}, "may_skip"),
    "skips that are no flags": ({"may_skip": np.array([2, 0])}, "may_skip"),
    "a client without rows": ({"client": np.array([0, 2, 2])}, "no row of client 1"),
    "half a client": ({"client": np.array([0.5, 0, 1])}, "client"),
    "too few clients": ({"client": np.array([0, 1])}, "client"),
    "a table too narrow": ({"utility": np.ones((3, 2))}, "utility"),
    "a negative worth": ({"utility": -np.ones((3, 3))}, "utility"),
    "energy that is given back": ({"before_j": np.array([0.0, -1.0, 0.0])}, "before_j"),
    "no power per hertz": ({"max_psd_w_per_hz": 0.0}, "max_psd_w_per_hz"),
    "no bits per hertz": ({"max_bps_per_hz": -2.0}, "max_bps_per_hz"),
    "blocks of nothing": ({"block_hz": 0.0}, "block_hz"),
    "blocks of two sizes": ({"block_hz": np.array([1.0, 2.0])}, "block_hz"),
    "more tokens than there are": ({"max_tokens": 3}, "max_tokens"),
    "no importance and no worth": ({"importance": None}, "neither importance nor utility"),
}


@ENDINGS
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_fields_end_in_one_sentence(tmp_path, ending, name):
    changes, words = HOSTILE[name]
    write = npz_file if ending == ".npz" else json_file
    path = write(tmp_path / f"problem{ending}", stored(**changes))
    with pytest.raises((ProblemError, FileFormatError)) as caught:
        Problem.load(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


NUMBERS = (
    *("before_j", "max_psd_w_per_hz", "max_bps_per_hz", "block_hz", "may_skip", "client", "max_tokens"),
    *("objective.retained.round_s", "objective.round_time.retained", "objective.total_time.weight"),
    *("objective.weighted.per_second", "objective.weighted.per_joule", "objective.energy.round_s"),
)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [np.nan, -np.inf, [np.nan] * 3, [[np.nan]]], ids=str)
def test_not_a_number_is_refused_everywhere(tmp_path, name, value):
    path = npz_file(tmp_path / "problem.npz", stored(**{name: np.array(value)}))
    with pytest.raises(StsfloraError):
        Problem.load(path)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", ["text", None, {"a": 1}, [[1.0, 2.0], [3.0]], [1.0, "text"], "inf inf"], ids=str
)
def test_what_is_no_number_is_refused_everywhere(tmp_path, name, value):
    path = tmp_path / "problem.json"
    values = json.loads(json_file(path, stored()).read_text()) | {name: value}
    path.write_text(json.dumps(values))
    if value is None and name in {"block_hz", "max_tokens"}:
        few = two_clients().min_tokens
        assert Problem.load(path) == two_clients(**{name: None}, min_tokens=few, objective=Ste())
        return
    with pytest.raises(StsfloraError):
        Problem.load(path)
