"""ST-SFLora over a grid: an honest one in memory against the loop in one process, and one that is not."""

from __future__ import annotations

import importlib
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")
pytest.importorskip("sklearn")
pytest.importorskip("flwr", reason="the extra flower is not installed")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from stsflora.experiments.finetune import train
from stsflora.experiments.finetune.checkpoint import flat
from stsflora.experiments.finetune.client_tokens import ClientTokens
from stsflora.experiments.finetune.config import Config, cache_folder
from stsflora.experiments.finetune.train import finetune
from stsflora.experiments.flower import client_app, messages
from stsflora.experiments.flower.grid_clients import GridClients
from stsflora.experiments.flower.messages import BARE, Format, GrantMessage, MessageError
from stsflora.experiments.flower.settings import read_settings, run_configuration
from stsflora.models.vit.backbone import DIGITS_VIT_FILE, small_vit
from stsflora.models.vit.quantisation import encode, token_bits
from stsflora.solver import Allocation, Grant, OptionError
from stsflora.solver.method import Answer
from stsflora.solver.registry import register, unregister

APP = Path(client_app.__file__).parent
QUICK = Config(clients=4, rounds=3, batch=8, local_steps=2, rank=2, test_images=40)
SERVER = {"output": "unused", "device": "cpu", "start-timeout-s": 0.0, "reply-timeout-s": 0.5}


def run_config(config):
    """The flat settings that Flower hands out, for a server that does not wait long."""
    return {**run_configuration(config), **SERVER}


@pytest.fixture(autouse=True)
def one_task(one_thread):
    """What Flower tells every process of itself."""
    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
    yield
    client_app._clients.cache_clear()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with an untrained ViT, found by server and clients."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cache_folder()
    folder.mkdir()
    torch.manual_seed(0)
    save_file(small_vit().state_dict(), folder / DIGITS_VIT_FILE)
    return folder


class MemoryGrid(Grid):
    """Nodes in memory, each with the real ClientApp; replies travel as Flower's own bytes.

    `tamper(kind, round, node, reply)` sees every reply and returns what arrives, None for nothing.
    """

    def __init__(self, config, tamper=lambda kind, index, node, reply: reply):
        self.tamper, self.absent, self.log = tamper, set(), []
        self.contexts = {
            100 + client: Context(
                run_id=1,
                node_id=100 + client,
                node_config={"partition-id": client, "num-partitions": config.clients},
                state=RecordDict(),
                run_config=run_config(config),
            )
            for client in range(config.clients)
        }
        self.replies = {}

    def set_run(self, run): ...

    @property
    def run(self): ...

    def create_message(self, *arguments, **options): ...

    def send_and_receive(self, messages, *, timeout=None): ...

    def get_node_ids(self):
        return sorted(self.contexts.keys() - self.absent)

    def push_messages(self, messages):
        numbers = []
        for message in messages:
            number, metadata = f"message-{len(self.log)}", message.metadata
            metadata.__dict__["_message_id"] = number
            kind, index, node = metadata.message_type, int(metadata.group_id), metadata.dst_node_id
            self.log.append((kind, index, node))
            try:
                reply = client_app.app(message, self.contexts[node])
            except Exception as error:
                reply = Message(Error(1, str(error)), reply_to=message)
            self.replies[number] = self.tamper(kind, index, node, reply)
            numbers.append(number)
        return numbers

    def pull_messages(self, numbers):
        replies = [self.replies.pop(number, None) for number in numbers]
        return [reply for reply in replies if reply is not None]


def over(grid, config, folder, cache, **options):
    made = []

    def clients(run):
        made.append(GridClients(run, grid, reply_timeout_s=0.5))
        return made[-1]

    return finetune(config, folder, cache=cache, device="cpu", clients=clients, **options), made[-1]


def figures(run, *without):
    return [{name: value for name, value in asdict(log).items() if name not in without} for log in run.logs]


FLOATS = ("seconds", "loss", "ste", "bound", "round_s", "energy_j")
"""What may differ in the last digits: here a client's batch goes through the frozen half by itself."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bits_per_element": 16},
        {"bits_per_element": 8},
        {"merge": "none"},
        {"method": "st-sflora-full"},
        {"solver": "fixed", "solver_options": {"tokens": 36}},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "default",
)
def test_the_same_run_as_in_one_process(changes, tmp_path, cache):
    config = replace(QUICK, **changes)
    here = finetune(config, tmp_path / "here", cache=cache, device="cpu")
    there, _ = over(MemoryGrid(config), config, tmp_path / "there", cache)
    assert figures(there, *FLOATS) == figures(here, *FLOATS)
    for ours, theirs in zip(there.logs, here.logs, strict=True):
        for name in FLOATS[1:]:
            value = getattr(theirs, name)
            assert getattr(ours, name) == (value and pytest.approx(value, rel=1e-4))
        assert ours.uplink_bytes == ours.formula_bytes
    assert there.train_tokens is None


def test_each_client_sends_in_the_depth_that_it_was_granted(tmp_path, cache):
    def method(problem, request):
        """The first client's coarsest row, the second's finest, in turn, over equal shares of the band."""
        rows = np.array([np.flatnonzero(problem.client == m)[-(m % 2)] for m in range(problem.clients)])
        share = np.full(len(rows), problem.bandwidth_hz / len(rows))
        return Answer(Allocation(np.full(len(rows), 12), share, problem.max_power_w[rows], row=rows))

    register("test-depths", takes={"ste": ["alternatives", "overheads"]}, always_feasible=False)(method)
    try:
        config = replace(QUICK, bits_per_element="8:worth=0.5,32", solver="test-depths")
        here = finetune(config, tmp_path / "here", cache=cache, device="cpu")
        there, _ = over(MemoryGrid(config), config, tmp_path / "there", cache)
    finally:
        unregister("test-depths")
    assert all(log.bits == [8, 32, 8, 32][: len(log.clients)] for log in there.logs)
    assert figures(there, *FLOATS) == figures(here, *FLOATS)


def test_the_server_goes_on_from_its_checkpoint(tmp_path, cache):
    straight, _ = over(MemoryGrid(QUICK), QUICK, tmp_path / "straight", cache)

    def interrupt(log):
        if log.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        over(MemoryGrid(QUICK), QUICK, tmp_path / "torn", cache, on_round=interrupt)
    resumed, _ = over(MemoryGrid(QUICK), QUICK, tmp_path / "torn", cache)
    assert figures(resumed, "seconds") == figures(straight, "seconds")
    ours, theirs = flat(resumed.scheme.states()), flat(straight.scheme.states())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_frozen_half_runs_once_a_round_even_if_its_node_restarts_in_between(tmp_path, cache, monkeypatch):
    awake_in_all_rounds(monkeypatch)  # in the first round all are asked, to learn who they are
    calls, original = [], client_app.run_half
    monkeypatch.setattr(client_app, "run_half", lambda *a: calls.append(a[1:]) or original(*a))
    plain, _ = over(MemoryGrid(QUICK), QUICK, tmp_path / "plain", cache)
    once = len(calls)
    assert once == len(set(calls)) == sum(len(log.clients) for log in plain.logs)

    def restart(kind, index, node, reply):
        if kind == messages.OFFER and node == 101:
            grid.contexts[node].state.clear()
        return reply

    grid = MemoryGrid(QUICK, restart)
    again, _ = over(grid, QUICK, tmp_path / "again", cache)
    assert len(calls) == 2 * once + sum(1 in log.clients for log in again.logs)
    assert figures(again, "seconds") == figures(plain, "seconds")


# clients that are lost


def awake_in_all_rounds(monkeypatch):
    simulate = train.simulate

    def everybody(*arguments, **options):
        for cell_round in simulate(*arguments, **options):
            yield replace(cell_round, active=np.ones(len(cell_round.gain), bool))

    monkeypatch.setattr(train, "simulate", everybody)


def silent_in_round_1(kind):
    def tamper(seen, index, node, reply):
        return None if (seen, index, node) == (kind, 1, 102) else reply

    return tamper


@pytest.mark.parametrize("kind", [messages.OFFER, messages.UPLOAD])
def test_a_client_that_is_lost_in_mid_round_is_dropped_and_comes_back(kind, tmp_path, cache, monkeypatch):
    awake_in_all_rounds(monkeypatch)
    grid = MemoryGrid(QUICK, silent_in_round_1(kind))
    run, clients = over(grid, QUICK, tmp_path, cache)
    assert [log.clients for log in run.logs] == [[0, 1, 2, 3], [0, 1, 3], [0, 1, 2, 3]]
    assert [log.left_out for log in run.logs] == [{}, {"2": "no reply within 0.5 s"}, {}]
    torn = run.logs[1]
    assert len(torn.tokens) == 3
    assert torn.uplink_bytes == torn.formula_bytes
    assert torn.loss is not None
    assert (torn.bound is None) == (kind == messages.UPLOAD)  # nothing is proved of what is left of a plan
    assert clients.node_of == {0: 100, 1: 101, 2: 102, 3: 103}


def test_a_round_without_a_client_trains_as_if_it_had_not_been_there(tmp_path, cache, monkeypatch):
    """Lost after its grant: the others' shares of the step are those of the three that are left."""
    awake_in_all_rounds(monkeypatch)
    config = replace(QUICK, rounds=2, solver="fixed", solver_options={"tokens": 12})
    lost, _ = over(MemoryGrid(config, silent_in_round_1(messages.UPLOAD)), config, tmp_path / "lost", cache)
    never, _ = over(MemoryGrid(config, silent_in_round_1(messages.OFFER)), config, tmp_path / "never", cache)
    ours, theirs = flat(lost.scheme.states()), flat(never.scheme.states())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert lost.logs[1].ste < never.logs[1].ste  # its share of the band stayed unused


def test_a_node_that_is_not_there_joins_later(tmp_path, cache, monkeypatch):
    awake_in_all_rounds(monkeypatch)

    def arrive(kind, index, node, reply):
        grid.absent -= {103} if index == 1 else set()
        return reply

    grid = MemoryGrid(QUICK, arrive)
    grid.absent.add(103)
    run, _ = over(grid, QUICK, tmp_path, cache)
    assert [log.clients for log in run.logs] == [[0, 1, 2], [0, 1, 2], [0, 1, 2, 3]]
    assert run.logs[0].left_out == {"3": "no node is connected for it"}


def test_only_nodes_of_clients_that_are_awake_are_asked_once_all_are_known(tmp_path, cache):
    grid = MemoryGrid(QUICK)
    run, _ = over(grid, QUICK, tmp_path, cache)
    for index, log in enumerate(run.logs[1:], start=1):
        asked = [node - 100 for kind, of, node in grid.log if (kind, of) == (messages.OFFER, index)]
        assert asked == log.clients
    assert any(len(log.clients) < 4 for log in run.logs)


# clients that are broken or hostile


def broken(kind, change):
    """Node 101 sends in round 1 what `change` makes of its message."""

    def tamper(seen, index, node, reply):
        return change(reply) if (seen, index, node) == (kind, 1, 101) else reply

    return tamper


def poison(reply):
    array = reply.content.array_records["arrays"]["tokens"]
    array.data = np.full(len(array.data) // 4, np.nan, "<f4").tobytes()
    return reply


def empty(reply):
    reply.content.clear()
    return reply


def failed(reply):
    return Message(Error(7, "no\nluck"), reply_to=reply)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        (messages.OFFER, empty, "refused: message: got nothing; allowed: offer, arrays. Send these"),
        (messages.OFFER, failed, "it failed: 'no\\nluck'"),
        (messages.UPLOAD, poison, "refused: tokens: got a value out of range; allowed: finite ones"),
        (messages.UPLOAD, empty, "refused: message: got nothing; allowed: arrays"),
    ],
)
def test_malformed_replies_name_the_client_and_the_round_goes_on(
    kind, change, reason, tmp_path, cache, monkeypatch, caplog
):
    awake_in_all_rounds(monkeypatch)
    run, _ = over(MemoryGrid(QUICK, broken(kind, change)), QUICK, tmp_path, cache)
    assert [log.clients for log in run.logs] == [[0, 1, 2, 3], [0, 2, 3], [0, 1, 2, 3]]
    assert list(run.logs[1].left_out) == ["1"]
    assert run.logs[1].left_out["1"].startswith(reason)


def test_a_reply_that_flower_cannot_decode_harms_only_its_sender(tmp_path, cache, monkeypatch):
    awake_in_all_rounds(monkeypatch)
    original = MemoryGrid.pull_messages

    def pull(self, numbers):
        (number,) = numbers
        if self.log[int(number.removeprefix("message-"))] == (messages.UPLOAD, 1, 101):
            raise ValueError("\x00 is no message")
        return original(self, numbers)

    monkeypatch.setattr(MemoryGrid, "pull_messages", pull)
    run, _ = over(MemoryGrid(QUICK), QUICK, tmp_path, cache)
    assert run.logs[1].clients == [0, 2, 3]
    assert run.logs[1].left_out == {"1": "refused: a message that cannot be decoded ('\\x00 is no message')"}


def test_a_node_cannot_speak_for_another_client(tmp_path, cache, monkeypatch):
    awake_in_all_rounds(monkeypatch)

    def claim_client_0(reply):
        reply.content.config_records["offer"]["client"] = 0
        return reply

    run, clients = over(MemoryGrid(QUICK, broken(messages.OFFER, claim_client_0)), QUICK, tmp_path, cache)
    assert run.logs[1].clients == [0, 2, 3]
    assert run.logs[1].left_out == {"1": "refused: it claims to be client 0, which is node 100"}
    assert clients.node_of[0] == 100
    assert run.logs[2].clients == [0, 1, 2, 3]


def test_a_client_that_sleeps_cannot_be_taken_over(tmp_path, cache, caplog):
    config = replace(QUICK, rounds=6)

    def intrude(log):
        partition = {"partition-id": 0, "num-partitions": 4}
        grid.contexts[300] = replace(
            grid.contexts[100], node_id=300, node_config=partition, state=RecordDict()
        )

    grid = MemoryGrid(config)
    run, clients = over(grid, config, tmp_path, cache, on_round=intrude)
    assert clients.node_of[0] == 100
    assert any(0 not in log.clients for log in run.logs[1:])
    refusals = [record for record in caplog.messages if "it claims to be client 0" in record]
    assert len(refusals) == 5
    assert all("an unknown client (node 300)" in text for text in refusals)
    honest, _ = over(MemoryGrid(config), config, tmp_path / "honest", cache)
    assert figures(run, "seconds") == figures(honest, "seconds")


def test_a_client_may_come_back_with_another_node(tmp_path, cache, monkeypatch):
    """Its old node is gone: whoever answers as that client from then on is it."""
    awake_in_all_rounds(monkeypatch)

    def move(kind, index, node, reply):
        if (kind, index, node) == (messages.UPLOAD, 0, 103):
            grid.contexts[200] = grid.contexts.pop(103)
        return reply

    grid = MemoryGrid(QUICK, move)
    run, clients = over(grid, QUICK, tmp_path, cache)
    assert [log.clients for log in run.logs] == [[0, 1, 2, 3]] * 3
    assert clients.node_of[3] == 200


# messages

FORM = Format(replace(QUICK, batch=8), patches=6, width=4, prefix_tokens=1, classes=10)


def bare(values, kind):
    values = np.asarray(values, kind)
    return Array(kind, values.shape, BARE, values.tobytes())


def an_offer(**changes):
    parts = {"client": 3, "samples": 2, "importance": bare([0.8, 0.6, 0.3, 0.2, 0.1, 0.0], "<f8"), **changes}
    importance = parts.pop("importance")
    return RecordDict({"offer": ConfigRecord(parts), "arrays": ArrayRecord({"importance": importance})})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"client": 4}, "client: got 4; allowed: int 0 to 3"),
        ({"client": True}, "client: got True; allowed: int"),
        ({"client": 1.0}, "client: got 1.0; allowed: int"),
        ({"client": "1"}, "client: got '1'; allowed: int"),
        ({"client": [1, 2]}, "client: got [1, 2]; allowed: int"),
        ({"samples": 0}, "samples: got 0; allowed: int 1 to 8"),
        ({"samples": 10**12}, "samples: got 1000000000000; allowed: int 1 to 8"),
        ({"more": 1}, "message: got 'client', 'more', 'samples'; allowed: client, samples"),
        ({"importance": bare([1.0] * 5, "<f8")}, "of shape (5,) in 40 bytes"),
        ({"importance": bare([0.5] * 6, "<f4")}, "'<f4' of shape (6,) in 24 bytes"),
        ({"importance": Array("<f8", (6,), BARE, b"")}, "of shape (6,) in 0 bytes"),
        (
            {"importance": Array("<f8", (10**15,), BARE, bytes(48))},
            "of shape (1000000000000000,) in 48 bytes",
        ),
        ({"importance": Array(np.ones(6))}, "of 'numpy.ndarray'"),
        ({"importance": bare([np.nan] * 6, "<f8")}, "importance: got a value out of range"),
        ({"importance": bare([3.0, 0, 0, 0, 0, -1.0], "<f8")}, "importance: got a value out of range"),
        ({"importance": bare([np.inf, 0, 0, 0, 0, 0], "<f8")}, "importance: got a value out of range"),
        ({"importance": bare([0, 0, 0, 0, 0, 2.0], "<f8")}, "importance: got values that ascend"),
        (
            {"importance": bare([2.0, 2.0, 2.0, 2.0, 2.0, 2.0], "<f8")},
            "importance: got a sum that is +10 off",
        ),
    ],
)
def test_offers_are_checked(changes, text):
    assert messages.read_offer(an_offer(), FORM)[0] == 3
    with pytest.raises(MessageError) as caught:
        messages.read_offer(an_offer(**changes), FORM)
    assert text in str(caught.value)


def test_records_of_another_kind_are_refused():
    content = RecordDict({"offer": ArrayRecord(), "arrays": ArrayRecord()})
    with pytest.raises(MessageError, match="record 'offer': got ArrayRecord; allowed: ConfigRecord"):
        messages.read_offer(content, FORM)


def an_upload(tokens=None, labels=None, **others):
    tokens = bare(np.ones((2, 5, 4)), "<f4") if tokens is None else tokens
    labels = bare([0, 9], "<i4") if labels is None else labels
    return RecordDict({"arrays": ArrayRecord({"tokens": tokens, "labels": labels, **others})})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tokens": bare(np.ones((2, 6, 4)), "<f4")}, "'<f4' of shape (2, 6, 4) in 192 bytes"),
        ({"tokens": bare(np.ones((3, 5, 4)), "<f4")}, "allowed: '<f4' of shape (2, 5, 4) in 160 bytes"),
        ({"tokens": bare(np.ones((2, 5, 4)), "<f8")}, "'<f8' of shape (2, 5, 4) in 320 bytes"),
        ({"tokens": Array("<f4", (2, 5, 4), BARE, bytes(159))}, "in 159 bytes"),
        ({"tokens": Array("<f4", (-2, -5, 4), BARE, bytes(160))}, "of shape (-2, -5, 4)"),
        ({"tokens": bare(np.full((2, 5, 4), np.inf), "<f4")}, "tokens: got a value out of range"),
        ({"tokens": bare(np.full((2, 5, 4), 1e30), "<f4")}, "finite ones from -65504 to 65504"),
        (
            {"labels": bare([0, 10], "<i4")},
            "labels: got a value out of range; allowed: finite ones from 0 to 9",
        ),
        ({"labels": bare([0, -1], "<i4")}, "labels: got a value out of range"),
        ({"labels": bare([0], "<i4")}, "labels: got '<i4' of shape (1,)"),
        ({"more": bare([0], "<i4")}, "message: got 'labels', 'more', 'tokens'; allowed: tokens, labels"),
    ],
)
def test_uploads_are_checked(changes, text):
    selected, labels = messages.read_upload(an_upload(), FORM, samples=2, count=3, bits=32)
    assert selected.tokens.shape == (2, 5, 4)
    assert labels.tolist() == [0, 9]
    with pytest.raises(MessageError) as caught:
        messages.read_upload(an_upload(**changes), FORM, samples=2, count=3, bits=32)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"round": 3}, "round: got 3; allowed: int 0 to 2"),
        ({"round": -1}, "round: got -1"),
        ({"tokens": 0}, "tokens: got 0"),
        ({"tokens": 2.0}, "tokens: got 2.0; allowed: int"),
        ({"bits": 8}, "bits: got 8; allowed: 32"),
        ({"bits": 64}, "bits: got 64; allowed: int 8 to 32"),
        ({"bandwidth-hz": float("nan")}, "bandwidth-hz: got nan"),
        ({"bandwidth-hz": 0.0}, "bandwidth-hz: got 0.0"),
        ({"bandwidth-hz": 51e6}, "bandwidth-hz: got 51000000.0"),
        ({"power-w": float("inf")}, "power-w: got inf"),
        ({"power-w": 0.21}, "power-w: got 0.21; allowed: float"),
    ],
)
def test_clients_check_their_grants_too(changes, text):
    content = messages.pack_grant(2, Grant(3, 1e6, 0.1, *(0.0,) * 4), 32)
    assert messages.read_grant(content, QUICK) == (2, GrantMessage(3, 32, 1e6, 0.1))
    content.config_records["grant"].update(changes)
    with pytest.raises(MessageError) as caught:
        messages.read_grant(content, QUICK)
    assert text in str(caught.value)


@given(st.data())
def test_what_is_packed_is_what_is_read_and_its_payload_is_the_formulas(data):
    merge = data.draw(st.sampled_from(["attention", "none"]))
    bits = data.draw(st.sampled_from([8, 16, 32]))
    form = replace(FORM, config=replace(FORM.config, merge=merge, bits_per_element=bits))
    samples, count = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    tokens = torch.randn(samples, 7, 4, generator=generator).half().float()
    scores = torch.rand(samples, 6, generator=generator).softmax(1)
    given_tokens, labels = ClientTokens(tokens, scores), torch.arange(samples)
    client, offer = messages.read_offer(through_bytes(messages.pack_offer(1, given_tokens.offer())), form)
    assert (client, offer.samples) == (1, samples)
    np.testing.assert_array_equal(offer.importance, given_tokens.offer().importance)
    cut = given_tokens.cut(form.config, count)
    content = through_bytes(messages.pack_upload(cut, labels, bits))
    read, read_labels = messages.read_upload(content, form, samples, count, bits)
    assert torch.equal(read.tokens, encode(cut.tokens, bits).restored())
    assert torch.equal(read.valid, cut.valid)
    assert torch.equal(read_labels, labels)
    extra = 2 if merge == "attention" else 1
    assert messages.payload_bytes(content) == samples * token_bits(4, bits) * (count + extra) // 8


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tokens": bare(np.ones((2, 5, 4)), "<f4")}, "'<f4' of shape (2, 5, 4) in 160 bytes"),
        ({"low": bare(np.full((2, 5), np.nan), "<f4")}, "low: got a value out of range"),
        ({"low": bare(np.ones((2, 5, 1)), "<f4")}, "low: got '<f4' of shape (2, 5, 1)"),
        ({"step": bare(np.full((2, 5), -1.0), "<f4")}, "step: got a value out of range"),
        ({"step": bare(np.full((2, 5), 1e30), "<f4")}, "finite ones from 0 to 513.757"),
    ],
)
def test_quantised_uploads_are_checked(changes, text):
    quantised = {
        "tokens": bare(np.full((2, 5, 4), 3), "|u1"),
        "low": bare(np.ones((2, 5)), "<f4"),
        "step": bare(np.full((2, 5), 0.5), "<f4"),
    }
    selected, _ = messages.read_upload(an_upload(**quantised), FORM, samples=2, count=3, bits=8)
    assert selected.tokens.flatten().tolist() == [2.5] * 40
    with pytest.raises(MessageError) as caught:
        messages.read_upload(an_upload(**{**quantised, **changes}), FORM, samples=2, count=3, bits=8)
    assert text in str(caught.value)
    with pytest.raises(MessageError, match="got 'labels', 'tokens'; allowed: tokens, low, step, labels"):
        messages.read_upload(an_upload(), FORM, samples=2, count=3, bits=8)


def through_bytes(content):
    """As Flower sends it: each object in bytes, children by their digests."""
    children = {child: through_bytes(part) for child, part in (content.children or {}).items()}
    return type(content).inflate(content.deflate(), children or None)


# settings


def test_the_apps_settings_are_those_of_config():
    app = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    config = replace(Config(), clients=4, rounds=6)
    assert list(app["config"].items()) == list(run_configuration(config).items())
    assert read_settings(app["config"]).config == config
    for reference in app["components"].values():
        module, _, name = reference.partition(":")
        assert isinstance(getattr(importlib.import_module(module), name), ServerApp | ClientApp)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"clients": "4"}, "clients = '4'; allowed: a int"),
        ({"clients": 4.0}, "clients = 4.0; allowed: a int"),
        ({"batch": True}, "batch = True; allowed: a int"),
        ({"learning-rate": "fast"}, "learning-rate = 'fast'; allowed: a float"),
        ({"rounds": 0}, "rounds=0"),
        ({"method": "sflora"}, "method 'sflora'; allowed: st-sflora, st-sflora-full"),
        ({"solver": "fixed:tokens"}, "'tokens'; allowed: name=value"),
        ({"magic": 1}, "'magic' unknown or missing"),
        ({"device": "tpu"}, "device 'tpu'"),
    ],
)
def test_settings_are_checked(changes, text):
    with pytest.raises(OptionError) as caught:
        read_settings({**run_config(QUICK), **changes})
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"min_tokens": 3, "head_learning_rate": 0.5, "max_power_w": 0.1, "interval_s": 2.5},
        {"solver": "fixed", "solver_options": {"tokens": 4}},
        {"solver": "alternating", "solver_options": {"starts": ["full", "random"], "max_iterations": 3}},
    ],
)
def test_settings_come_back_as_the_config(changes):
    config = replace(QUICK, **changes)
    assert read_settings(run_config(config)).config == config


@pytest.mark.parametrize(
    "node", [{}, {"partition-id": 4, "num-partitions": 4}, {"partition-id": 0, "num-partitions": 5}]
)
def test_a_node_without_a_place_in_the_cell_says_so(node):
    context = Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config={})
    with pytest.raises(OptionError, match="partition-id=0 to 3 and num-partitions=4"):
        client_app.client_number(context, QUICK)
