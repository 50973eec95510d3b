"""Bit depths as a choice per client: the setting, the rows of the problem, what is sent and counted then."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")
pytest.importorskip("sklearn")

from safetensors.torch import save_file

from stsflora.experiments.finetune.bit_depths import BitDepth, bit_depths_text, parse_bit_depths
from stsflora.experiments.finetune.checkpoint import CHECKPOINT, load_checkpoint
from stsflora.experiments.finetune.client_pool import local_clients
from stsflora.experiments.finetune.config import Config
from stsflora.experiments.finetune.report import results_table
from stsflora.experiments.finetune.run import prepare
from stsflora.experiments.finetune.run_records import finished_run, from_csv, save_records
from stsflora.experiments.finetune.train import finetune
from stsflora.experiments.finetune.uplink import round_problem
from stsflora.models.cell.cell import Cell, simulate
from stsflora.models.vit.backbone import DIGITS_VIT_FILE, small_vit
from stsflora.models.vit.quantisation import encode, token_bits
from stsflora.solver import Allocation, OptionError
from stsflora.solver.method import Answer
from stsflora.solver.registry import register, unregister

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = Config(clients=4, rounds=3, batch=8, local_steps=2, rank=2, test_images=40)
CHOICE = replace(QUICK, bits_per_element="8:worth=0.5,16,32", solver="test-depths")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache with an untrained ViT: what is tested here does not depend on its skill."""
    folder = tmp_path_factory.mktemp("cache")
    torch.manual_seed(0)
    save_file(small_vit().state_dict(), folder / DIGITS_VIT_FILE)
    return folder


@pytest.fixture
def in_turn():
    """A solver that gives the clients their first, second, third row in turn, and each 12 tokens."""

    def method(problem, request):
        """Rows in turn over equal shares of the band."""
        clients = np.arange(problem.clients)
        share = np.full(problem.clients, problem.bandwidth_hz / problem.clients)
        rows = np.array([np.flatnonzero(problem.client == m)[m % 3] for m in clients])
        return Answer(Allocation(np.full(len(clients), 12), share, problem.max_power_w[rows], row=rows))

    register("test-depths", takes={"ste": ["alternatives", "overheads"]}, always_feasible=False)(method)
    yield
    unregister("test-depths")


# the setting


@pytest.mark.parametrize(
    ("text", "depths", "canonical"),
    [
        ("32", (BitDepth(32),), "32"),
        ("8", (BitDepth(8),), "8"),
        (" 32, 8:worth=0.5 ", (BitDepth(8, 0.5), BitDepth(32)), "8:worth=0.5,32"),
        ("16:worth=1,8", (BitDepth(8), BitDepth(16)), "8,16"),
    ],
)
def test_depths_as_text_are_those_depths(text, depths, canonical):
    assert parse_bit_depths(text) == depths
    assert bit_depths_text(depths) == canonical
    assert replace(QUICK, bits_per_element=text).bits_per_element == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", "4", "8.0", "8,8", "8,8:worth=0.5", "8,", "8:", "8:worth", "8:worth=high", "8:worth=0"),
        *("8:worth=nan", "8:worth=1.1", "8:value=0.5", "8:worth=0.5:worth=1"),
    ],
)
def test_other_texts_are_refused_with_an_example(text):
    with pytest.raises(OptionError, match=r"8, 16, 32, each once, .* as in 8:worth=0\.95,16,32"):
        parse_bit_depths(text)


def test_a_number_is_a_depth_too_as_in_checkpoints_of_before():
    assert replace(QUICK, bits_per_element=16) == replace(QUICK, bits_per_element="16")
    values = {**QUICK.as_dict(), "bits_per_element": 32}
    assert Config.from_dict(values) == QUICK


def test_only_clients_whose_solver_chooses_have_a_choice():
    assert [depth.bits for depth in CHOICE.bit_depths] == [8, 16, 32]
    for method in ("st-sflora-full", "sflora", "fed-lora"):
        assert replace(CHOICE, method=method).bit_depths == (BitDepth(32),)
    assert replace(CHOICE, method="sflora", bits_per_element="16,8").bit_depths == (BitDepth(16),)


# rows


def problem_of(config, cache):
    run = prepare(config, cache)
    offers, _ = local_clients(run).offers(0, [0, 2, 3])
    return round_problem(run, next(simulate(Cell(), config.clients, 1, 0)), offers)


def test_a_problem_has_a_row_for_each_client_and_depth(cache):
    single, several = problem_of(QUICK, cache), problem_of(CHOICE, cache)
    assert (single.row_count, several.row_count, several.clients) == (3, 9, 3)
    assert several.client.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for name in ("gain", "deadline_s", "min_tokens", "overhead_s", "max_power_w", "max_energy_j"):
        np.testing.assert_array_equal(getattr(several, name), np.repeat(getattr(single, name), 3))
    np.testing.assert_array_equal(several.bits_per_token[2::3], single.bits_per_token)
    np.testing.assert_array_equal(several.bits_per_token[1::3], single.bits_per_token / 2)
    np.testing.assert_array_equal(
        several.bits_per_token[0::3], single.bits_per_token / 48 / 32 * (48 * 8 + 64)
    )
    np.testing.assert_allclose(several.importance[2::3], single.importance, rtol=1e-6)
    np.testing.assert_allclose(several.importance[0::3], several.importance[2::3] / 2, rtol=1e-12)


def test_one_depth_is_the_plain_problem(cache):
    assert problem_of(replace(QUICK, bits_per_element=8), cache).is_plain


# rounds


@pytest.mark.usefixtures("in_turn")
def test_each_client_sends_in_the_depth_of_its_row(tmp_path, cache, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "stsflora.experiments.finetune.training_steps.encode",
        lambda tokens, bits: seen.append((len(tokens), bits)) or encode(tokens, bits),
    )
    run = finetune(CHOICE, tmp_path, cache=cache)
    expected = []
    for log in run.logs:
        batch = [min(8, len(run.parts[client])) for client in log.clients]
        assert log.bits == [(8, 16, 32)[place % 3] for place in range(len(batch))]
        sizes = [b * token_bits(48, bits) * (12 + 2) // 8 for b, bits in zip(batch, log.bits, strict=True)]
        assert log.uplink_bytes == log.formula_bytes == sum(sizes)
        expected += zip(batch, log.bits, strict=True)
    assert seen == expected
    assert any(len(log.clients) == 3 for log in run.logs)
    assert run.train_tokens.tokens.dtype == torch.float32


@pytest.mark.usefixtures("in_turn")
def test_interrupted_and_resumed_is_the_same(tmp_path, cache):
    straight = finetune(CHOICE, tmp_path / "straight", cache=cache)
    finetune(replace(CHOICE, rounds=2), tmp_path / "torn", cache=cache)
    _, logs, _ = load_checkpoint(tmp_path / "torn" / CHECKPOINT)
    assert [log.bits for log in logs] == [log.bits for log in straight.logs[:2]]
    resumed = finetune(CHOICE, tmp_path / "torn", cache=cache)
    assert [{**asdict(log), "seconds": 0} for log in resumed.logs] == [
        {**asdict(log), "seconds": 0} for log in straight.logs
    ]
    with pytest.raises(OptionError, match=r"a run with bits_per_element = '8:worth=0\.5,16,32'"):
        finetune(replace(CHOICE, bits_per_element=8), tmp_path / "torn", cache=cache)


@pytest.mark.usefixtures("in_turn")
def test_tests_round_as_the_most_clients_did_and_all_tokens_as_little_as_allowed(
    tmp_path, cache, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        "stsflora.experiments.finetune.train.encode",
        lambda tokens, bits: seen.append((tokens.shape[1], bits)) or encode(tokens, bits),
    )
    config = replace(CHOICE, rounds=1, activations_per_round=50.0)
    run = finetune(config, tmp_path / "four", cache=cache)
    assert run.logs[0].bits == [8, 16, 32, 8]
    assert seen == [(36 + 1, 32), (12 + 2, 8)]
    seen.clear()
    finetune(replace(config, bits_per_element=16, solver="exact"), tmp_path / "half", cache=cache)
    assert seen == []  # kept in float16


@pytest.mark.usefixtures("in_turn")
def test_records_and_the_table_tell_the_mean_bits(tmp_path, cache):
    run = finetune(CHOICE, tmp_path / "run", cache=cache)
    sent = [bits for log in run.logs for bits in log.bits]
    assert finished_run(CHOICE, run.logs).mean_bits == pytest.approx(np.mean(sent))
    save_records(tmp_path, {"one": (CHOICE, run.logs)}, target=0.9)
    (row,) = from_csv(tmp_path / "results.csv")
    assert (row.bits_per_element, row.mean_bits) == ("8:worth=0.5,16,32", pytest.approx(np.mean(sent)))
    plain = [replace(log, bits=[]) for log in run.logs]
    assert "mean bits" not in results_table("t", {"a": plain}, 0.9).columns
    table = results_table("t", {"a": run.logs, "b": plain}, 0.9)
    where = table.columns.index("mean bits")
    assert [line[where] for line in table.lines] == [f"{np.mean(sent):.1f}", "–"]
