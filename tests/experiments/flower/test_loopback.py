"""Keys and relay of a trial on one machine; marked slow, the trial itself and Flower's simulation."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")
pytest.importorskip("sklearn")
pytest.importorskip("flwr", reason="the extra flower is not installed")

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from stsflora.experiments.finetune.checkpoint import CHECKPOINT, load_checkpoint
from stsflora.experiments.finetune.config import cache_folder
from stsflora.experiments.finetune.train import finetune
from stsflora.experiments.flower import loopback
from stsflora.experiments.flower.certificates import (
    AUTHORITY,
    CERTIFICATE,
    KEY,
    make_node_key,
    make_server_files,
)
from stsflora.experiments.flower.loopback import Deployment
from stsflora.experiments.flower.relay import Relay
from stsflora.solver import OptionError


def serve(answer, context=None):
    """A server on a free port that answers each connection's first bytes once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def work():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                connection.sendall(answer(connection.recv(65536)))
            except OSError:
                pass
            finally:
                connection.close()

    threading.Thread(target=work, daemon=True).start()
    return listener


def test_the_servers_certificate_is_trusted_through_its_authority_alone(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for folder in (tmp_path, other):
        make_server_files(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / CERTIFICATE, tmp_path / KEY)
    with serve(bytes.upper, server) as listener:
        address = listener.getsockname()
        strict = ssl.create_default_context(cafile=str(tmp_path / AUTHORITY))
        strict.verify_flags |= ssl.VERIFY_X509_STRICT
        for name in ("127.0.0.1", "localhost"):
            with strict.wrap_socket(socket.create_connection(address), server_hostname=name) as tls:
                tls.sendall(b"hello")
                assert tls.recv(5) == b"HELLO"
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            strict.wrap_socket(socket.create_connection(address), server_hostname="example.org")
        stranger = ssl.create_default_context(cafile=str(other / AUTHORITY))
        with pytest.raises(ssl.SSLCertVerificationError):
            stranger.wrap_socket(socket.create_connection(address), server_hostname="localhost")


def test_node_keys_are_pairs_that_only_their_owner_can_read(tmp_path):
    private, public = make_node_key(tmp_path, "node-0")
    key = load_ssh_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == load_ssh_public_key(public.read_bytes())
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_the_relay_counts_every_byte_in_both_directions():
    with serve(lambda data: 3 * data) as listener:
        relay = Relay(listener.getsockname()[1])
        for text in (b"abcd", b"x" * 1000):
            with socket.create_connection(("127.0.0.1", relay.port)) as near:
                near.sendall(text)
                received = b""
                while data := near.recv(65536):
                    received += data
            assert received == 3 * text
        assert (relay.up_bytes, relay.down_bytes) == (1004, 3012)
        port = relay.port
        relay.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("text", ["2", "a:1", "4:1", "2:0", "2:6", "-1:2"])
def test_a_plan_to_kill_names_a_node_and_a_round(text):
    assert loopback.kill_plan("3:5", 4, 6) == (3, 5)
    assert loopback.kill_plan("", 4, 6) == (None, 0)
    with pytest.raises(OptionError, match="0 to 3, a colon, 1 to 5"):
        loopback.kill_plan(text, 4, 6)


@pytest.mark.slow
def test_flowers_simulation_engine_gives_the_same_accuracies(tmp_path, one_thread):
    pytest.importorskip("ray", reason="flwr[simulation] is not installed")
    (tmp_path / "deployment").mkdir()
    output = tmp_path / "out"
    with Deployment(tmp_path / "deployment", 4, simulated=True) as deployment:
        lines = list(deployment.run("rounds=2", f'output="{output}"'))
    assert "4 nodes for 4 clients" in "".join(lines)
    config, logs, _ = load_checkpoint(output / CHECKPOINT)
    here = finetune(config, tmp_path / "here", cache=cache_folder())
    assert [log.accuracy for log in logs] == [log.accuracy for log in here.logs]
    assert [log.tokens for log in logs] == [log.tokens for log in here.logs]
    assert all(log.uplink_bytes == log.formula_bytes for log in logs)


@pytest.mark.slow
def test_processes_with_tls_and_keys_lose_a_killed_node_for_a_while_only(tmp_path):
    (tmp_path / "deployment").mkdir()
    output = tmp_path / "out"
    with Deployment(tmp_path / "deployment", 2) as deployment:
        settings = (
            "clients=2",
            "rounds=5",
            "activations-per-round=50",
            f'output="{output}"',
            "reply-timeout-s=60",
        )
        stranger = a_node_with_an_unknown_key(deployment)
        for line in deployment.run(*settings):
            if "round 0: top-1" in line:
                deployment.kill_at_work(1)
        assert stranger.wait(1) != 0
        processes = deployment.processes()
        up_bytes = sum(relay.up_bytes for relay in deployment.relays)
    _, logs, _ = load_checkpoint(output / CHECKPOINT)
    assert [log.clients for log in (logs[0], logs[1], logs[-1])] == [[0, 1], [0], [0, 1]]
    assert list(logs[1].left_out) == ["1"]
    assert all(log.uplink_bytes == log.formula_bytes for log in logs)
    assert up_bytes > sum(log.uplink_bytes for log in logs)
    assert len(processes) >= 6  # SuperLink, two SuperNodes, and what each of them runs
    assert not [pid for pid in processes if is_running(pid)]


def a_node_with_an_unknown_key(deployment):
    private, _ = make_node_key(deployment.folder, "stranger")
    address = f"127.0.0.1:{deployment.relays[0].port}"
    deployment._start(
        "stranger",
        "flower-supernode",
        *("--superlink", address, "--root-certificates", str(deployment.folder / AUTHORITY)),
        *("--auth-supernode-private-key", str(private), "--port", "0"),
    )
    return deployment._processes["stranger"]


def is_running(pid):
    """A process that has ended stays listed, as a zombie, until its parent asks."""
    listing = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listing.stdout.strip()[:1] not in {"", "Z"}
