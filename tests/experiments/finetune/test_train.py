"""Whole runs on a few digits: figures, resuming, what goes wrong and what is kept then."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")
pytest.importorskip("sklearn")

from safetensors.torch import save_file

from stsflora.experiments.cli.main import main
from stsflora.experiments.finetune import schemes, train, training_steps
from stsflora.experiments.finetune.checkpoint import CHECKPOINT, flat, load_checkpoint
from stsflora.experiments.finetune.client import draw_batch
from stsflora.experiments.finetune.client_pool import local_clients
from stsflora.experiments.finetune.config import Config
from stsflora.experiments.finetune.report import labels, results_table
from stsflora.experiments.finetune.run import prepare
from stsflora.experiments.finetune.run_records import figures as final_figures
from stsflora.experiments.finetune.train import TrainingError, finetune
from stsflora.experiments.finetune.uplink import round_problem, staying
from stsflora.models.vit.backbone import DIGITS_VIT_FILE, small_vit
from stsflora.solver import (
    FileFormatError,
    OptionError,
    Problem,
    SolverFailedError,
)
from stsflora.solver.method import Answer
from stsflora.solver.registry import register, unregister

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = Config(clients=4, rounds=3, batch=8, local_steps=2, rank=2, test_images=40)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache with an untrained ViT: what is tested here does not depend on its skill."""
    folder = tmp_path_factory.mktemp("cache")
    torch.manual_seed(0)
    save_file(small_vit().state_dict(), folder / DIGITS_VIT_FILE)
    return folder


def figures(run):
    return [{**asdict(log), "seconds": 0} for log in run.logs]


@pytest.mark.parametrize("name", schemes.SCHEMES)
def test_interrupted_and_resumed_is_the_same_bit_for_bit(name, tmp_path, cache):
    config = replace(QUICK, method=name)
    straight = finetune(config, tmp_path / "straight", cache=cache)

    def interrupt(log):
        if log.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(config, tmp_path / "torn", cache=cache, on_round=interrupt)
    resumed = finetune(config, tmp_path / "torn", cache=cache)
    assert figures(resumed) == figures(straight)
    ours, theirs = flat(resumed.scheme.states()), flat(straight.scheme.states())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("merge", ["attention", "none"])
def test_bytes_counted_on_tensors_equal_the_formula(merge, bits, tmp_path, cache):
    config = replace(QUICK, merge=merge, bits_per_element=bits)
    run = finetune(config, tmp_path, cache=cache)
    sent = 48 + 8 if bits == 8 else 48 * bits // 8  # each quantised token comes with its range
    for log in run.logs:
        assert log.bits == []
        batch = [min(8, len(run.parts[client])) for client in log.clients]
        extra = 2 if merge == "attention" else 1
        expected = sum(b * (k + extra) * sent for b, k in zip(batch, log.tokens, strict=True))
        assert log.uplink_bytes == log.formula_bytes == expected
        assert log.downlink_bytes == 0


def test_the_problem_carries_the_real_importances(cache):
    config = replace(QUICK, partition="iid", count_forward=True)
    run = prepare(config, cache)
    cell_round = next(train.simulate(train.Cell(), 4, 1, 0))
    offers, silent = local_clients(run).offers(0, range(4))
    assert silent == {}
    assert list(offers) == [0, 1, 2, 3]
    assert staying(run, cell_round, offers) == (offers, {})
    problem = round_problem(run, cell_round, offers)
    scores = run.train_tokens.scores[draw_batch(run.parts[2], config, 0, 2)].numpy().astype(np.float64)
    expected = np.sort(scores, axis=1)[:, ::-1].sum(axis=0)
    np.testing.assert_allclose(problem.importance[2], expected, rtol=1e-12)
    np.testing.assert_allclose(problem.importance.sum(axis=1), 8, rtol=1e-5)
    np.testing.assert_array_equal(problem.gain, cell_round.gain)
    assert (problem.bits_per_token == 8 * 48 * 32).all()
    assert (problem.extra_tokens, problem.min_tokens.tolist()) == (2, [12] * 4)
    assert (problem.overhead_s > 0).all()


def test_schemes_see_the_same_batches_and_the_same_cell(tmp_path, cache):
    full, selected = (
        finetune(replace(QUICK, method=name), tmp_path / name, cache=cache)
        for name in ("st-sflora-full", "st-sflora")
    )
    assert [log.clients for log in full.logs] == [log.clients for log in selected.logs]
    assert all(set(log.tokens) == {36} for log in full.logs)
    assert full.logs[0].round_s > selected.logs[0].round_s
    assert all(log.accuracy_selected is None for log in full.logs)


def test_all_tokens_granted_and_nothing_merged_equals_the_full_scheme(tmp_path, cache):
    full = finetune(replace(QUICK, method="st-sflora-full"), tmp_path / "full", cache=cache)
    config = replace(QUICK, solver="fixed", solver_options={"tokens": 36}, merge="none")
    all_kept = finetune(config, tmp_path / "kept", cache=cache)
    assert [log.loss for log in all_kept.logs] == [log.loss for log in full.logs]
    assert [log.accuracy_selected for log in all_kept.logs] == [log.accuracy for log in full.logs]


def test_images_and_tokens_of_an_earlier_run_serve_again(tmp_path, cache):
    first = finetune(QUICK, tmp_path / "a", cache=cache)
    second = finetune(replace(QUICK, solver="greedy"), tmp_path / "b", cache=cache, like=first)
    assert second.train_tokens is first.train_tokens
    alone = finetune(replace(QUICK, solver="greedy"), tmp_path / "c", cache=cache)
    assert figures(second) == figures(alone)
    other = prepare(replace(QUICK, cut=1), cache, like=first)
    assert other.context.images is first.context.images
    assert other.train_tokens is not first.train_tokens


# what goes wrong


def weak_channel(monkeypatch, clients):
    """Client 1 stands where no energy suffices."""
    simulate = train.simulate

    def weakened(*arguments, **options):
        for cell_round in simulate(*arguments, **options):
            gain = cell_round.gain.copy()
            gain[clients] = 1e-20
            yield replace(cell_round, gain=gain, active=np.ones(len(gain), bool))

    monkeypatch.setattr(train, "simulate", weakened)


@pytest.mark.parametrize("name", ["st-sflora", "sflora", "split-lora", "fed-lora"])
def test_clients_that_no_allocation_serves_are_named_and_the_others_go_on(name, tmp_path, cache, monkeypatch):
    weak_channel(monkeypatch, [1])
    run = finetune(replace(QUICK, method=name, rounds=1), tmp_path, cache=cache)
    (log,) = run.logs
    assert log.clients == [0, 2, 3]
    assert log.left_out.keys() == {"1"}
    assert log.left_out["1"].startswith("client 1: sending min_tokens takes more than ")
    assert log.left_out["1"].endswith(" J at any bandwidth, the energy budget gives 0.8 J.")
    assert log.loss is not None


def test_a_round_that_nobody_can_serve_is_logged_and_passed(tmp_path, cache, monkeypatch):
    weak_channel(monkeypatch, [0, 1, 2, 3])
    run = finetune(replace(QUICK, rounds=2), tmp_path, cache=cache)
    assert [log.clients for log in run.logs] == [[], []]
    assert len(run.logs[0].left_out) == 4
    assert run.logs[0].loss is None
    assert run.logs[0].ste is None


def test_a_solver_that_finds_nothing_says_why(tmp_path, cache):
    def lost(problem: Problem, request: object) -> Answer:
        """Finds nothing."""
        return Answer(None, message="looked everywhere")

    register("lost")(lost)
    try:
        with pytest.raises(SolverFailedError, match="solver 'lost': got looked everywhere"):
            finetune(replace(QUICK, solver="lost"), tmp_path, cache=cache)
    finally:
        unregister("lost")


def test_a_loss_that_is_not_finite_keeps_all_earlier_rounds(tmp_path, cache, monkeypatch):
    config = replace(QUICK, method="sflora")
    original = training_steps.backward
    calls = iter(range(10_000))
    first = finetune(replace(config, rounds=1), tmp_path / "one", cache=cache)
    in_a_round = 2 * len(first.logs[0].clients)

    def explodes(logits, *others):
        return original(logits * (torch.nan if next(calls) >= in_a_round else 1.0), *others)

    with monkeypatch.context() as patch:
        patch.setattr(training_steps, "backward", explodes)
        with pytest.raises(TrainingError) as caught:
            finetune(config, tmp_path / "run", cache=cache)
    assert "loss nan on client" in str(caught.value)
    assert "in round 1; allowed: a finite loss. Lower the learning rate; 1 rounds are kept in" in str(
        caught.value
    )
    _, logs, _ = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert len(logs) == 1
    finished = finetune(config, tmp_path / "run", cache=cache)
    assert figures(finished) == figures(finetune(config, tmp_path / "straight", cache=cache))


def test_another_runs_checkpoint_is_not_taken_up(tmp_path, cache):
    finetune(replace(QUICK, rounds=1), tmp_path, cache=cache)
    with pytest.raises(OptionError, match=r"a checkpoint of a run with learning_rate = 0\.003"):
        finetune(replace(QUICK, learning_rate=0.1), tmp_path, cache=cache)
    longer = finetune(replace(QUICK, rounds=2), tmp_path, cache=cache)
    assert len(longer.logs) == 2
    with pytest.raises(OptionError, match="a checkpoint of a run with 2 rounds"):
        finetune(replace(QUICK, rounds=1), tmp_path, cache=cache)
    finetune(replace(QUICK, rounds=1), tmp_path, cache=cache, resume=False)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x10" * 100])
def test_a_broken_checkpoint_is_named(damage, tmp_path, cache):
    (tmp_path / CHECKPOINT).write_bytes(damage)
    with pytest.raises(FileFormatError, match=r"checkpoint 'checkpoint\.safetensors'.*--fresh"):
        finetune(QUICK, tmp_path, cache=cache)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"cut": 9}, OptionError, "cut=9; allowed: a whole number from 1 to 4"),
        ({"cut": 4}, OptionError, "no block on the server side of cut 4"),
        ({"clients": 5000}, OptionError, "5000 clients for 599 images"),
        ({"min_tokens": 37}, OptionError, "min_tokens = 37; allowed: 1 to 36 patches"),
        (
            {"model": "vit_tiny_patch16_224", "weights": "none.safetensors"},
            FileFormatError,
            "no readable file",
        ),
    ],
)
def test_settings_that_cannot_work_are_named_before_the_first_round(changes, error, text, tmp_path, cache):
    with pytest.raises(error) as caught:
        finetune(replace(QUICK, **changes), tmp_path, cache=cache)
    assert text in str(caught.value)
    assert not (tmp_path / CHECKPOINT).exists()


# reports and the command


def test_labels_tell_what_differs():
    configs = [QUICK, replace(QUICK, solver="equal"), replace(QUICK, method="sflora")]
    assert labels(configs) == ["st-sflora (exact)", "st-sflora (equal)", "sflora"]
    assert labels([QUICK]) == ["st-sflora"]


def test_cost_until_an_accuracy_is_cumulative(tmp_path, cache):
    run = finetune(QUICK, tmp_path, cache=cache)
    logs = [replace(log, accuracy=value) for log, value in zip(run.logs, [0.2, None, 0.8], strict=True)]
    cost = final_figures(logs, 0.5)
    assert cost.rounds_to_target == 3
    assert cost.air_s_to_target == pytest.approx(sum(log.round_s for log in logs))
    assert final_figures(logs, 0.9).rounds_to_target is None
    (line,) = results_table("title", {"a": logs}, 0.5).lines
    assert line[:4] == ("a", "80.0 %", f"{100 * logs[-1].accuracy_selected:.1f} %", "▂▇")


def test_the_command_writes_table_curve_and_adapters(tmp_path, cache, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "stsflora").symlink_to(cache)
    quick = ["--clients", "4", "--rounds", "2", "--batch", "8", "--rank", "2", "--test-images", "40"]
    call = ["finetune", "--methods", "st-sflora,fed-lora", "--solvers", "exact,fixed:tokens=20", *quick]
    with pytest.raises(SystemExit) as ended:
        main([*call, "--output", str(tmp_path / "out"), "--json"])
    assert ended.value.code == 0
    logs = json.loads(capsys.readouterr().out)
    assert [len(entries) for entries in logs.values()] == [2, 2, 2]
    report = (tmp_path / "out" / "report.md").read_text()
    assert "st-sflora (fixed:tokens=20)" in report
    assert "frozen client halves ran once over 639 images" in report
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 1 + 3
    assert len((tmp_path / "out" / "curves.csv").read_text().splitlines()) == 1 + 3 * 2
    assert (tmp_path / "out" / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "out").glob("*/adapter/adapter_model.safetensors"))) == 3


def test_mistakes_in_the_call_end_with_a_sentence(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["finetune", "--cuts", "two"])
    assert ended.value.code == 2
    assert "--cuts two; allowed: whole numbers" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["finetune", "--methods", ","])
    assert "got an empty list; allowed: names separated by commas" in capsys.readouterr().err


def test_help_is_instant_because_it_loads_neither_numpy_nor_torch():
    code = (
        "import sys\n"
        "from stsflora.experiments.cli.main import main\n"
        "try: main(['finetune', '--help'])\n"
        "finally: print(sorted({'numpy', 'torch', 'matplotlib'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "--solvers" in done.stdout
    assert done.stderr.strip() == "[]"
