"""`python -m stsflora.experiments.flower.loopback`: a Flower deployment on this machine, with TLS and keys.

SuperLink, SuperNodes and a run on 127.0.0.1, all ended with the command, with whatever they have started.
Nodes that end are started again; they reach the SuperLink through relays that count bytes. With `--simulate`
the nodes are Flower's simulated ones instead, inside the SuperLink and without network.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Self

import httpx
import typer

from ...solver import OptionError, StsfloraError
from ...solver.files.file_access import make_folder
from ..finetune.checkpoint import CHECKPOINT, load_checkpoint
from .certificates import AUTHORITY, CERTIFICATE, KEY, make_node_key, make_server_files
from .relay import Relay

APP: Final = Path(__file__).resolve().parent
BIN: Final = Path(sys.executable).parent
POLL_S: Final = 0.2
READY_S: Final = 60.0
END_S: Final = 10.0
RESTART_S: Final = 5.0


class DeploymentError(StsfloraError, RuntimeError):
    """A process of the deployment did not start, or ended early."""


@dataclass(eq=False)
class Deployment:
    """A SuperLink and authenticated SuperNodes; as a context it starts them and leaves no process behind.

    Attributes:
        folder: an empty one, for keys, logs and what Flower keeps.
        nodes: how many, numbered from 0 as clients are.
        simulated: whether the nodes are simulated by the SuperLink.
        relays: one per node that is not.
    """

    folder: Path
    nodes: int
    simulated: bool = False
    relays: list[Relay] = field(default_factory=list)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _ending: threading.Event = field(default_factory=threading.Event)
    _supervisor: threading.Thread = field(init=False)
    _port: int = field(init=False)

    def __enter__(self) -> Self:
        make_server_files(self.folder)
        self._port = _free_port()
        self._supervisor = threading.Thread(target=self._supervise)
        home = self.folder / "flower"
        home.mkdir()
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\naddress = "127.0.0.1:{self._port}"\n'
            f'root-certificates = "{self.folder / AUTHORITY}"\n',
            encoding="utf-8",
        )
        try:
            self._start_superlink()
            for node in range(0 if self.simulated else self.nodes):
                _, public = make_node_key(self.folder, f"node-{node}")
                self._flwr("supernode", "register", str(public), "loopback")
                self.relays.append(Relay(self._port))
                self._start_node(node)
        except BaseException:
            self.__exit__()
            raise
        self._supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        for name in reversed(list(self._processes)):
            self._end(name)
        for relay in self.relays:
            relay.close()

    def kill_at_work(self, node: int) -> None:
        """Wait until a SuperNode has taken a message, and SIGKILL it with all that it started.

        It cannot have answered by then; it is back when the SuperLink takes it again.
        """
        log = self.folder / f"node-{node}.log"

        def messages_taken() -> int:
            return log.read_text(encoding="utf-8", errors="replace").count("Receiving: ")

        before = messages_taken()
        while messages_taken() == before:
            time.sleep(POLL_S)
        os.killpg(self._processes[f"node-{node}"].pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Ids of all processes of the deployment."""
        return [pid for process in self._processes.values() for pid in _with_descendants(process.pid)]

    def run(self, *settings: str) -> Iterator[str]:
        """Start the app and give the lines of the server's log until the run ends.

        Args:
            settings: of the run, as `key=value` in TOML.

        Raises:
            DeploymentError: the run could not be started.
        """
        command = [str(BIN / "flwr"), "run", str(APP), "loopback", "--stream"]
        command += ["--run-config", " ".join(settings)]
        if self.simulated:
            command += ["--federation-config", f"num-supernodes={self.nodes}"]
        with subprocess.Popen(  # noqa: S603 - programs of our own environment
            command, env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                for line in process.stdout or ():
                    yield line.rstrip("\n")
            except BaseException:  # nobody reads on
                process.kill()
                raise
        if process.returncode:
            raise self._failed("flwr run", f"exit code {process.returncode}")

    def _supervise(self) -> None:
        """Start nodes that have ended again, as a service manager does.

        The SuperLink refuses a node until it has noticed, by its heartbeats, that the former one is gone.
        """
        while not self._ending.wait(RESTART_S):
            for node in range(len(self.relays)):
                if self._processes[f"node-{node}"].poll() is not None:
                    self._end(f"node-{node}")
                    self._start_node(node)

    def _start_node(self, node: int) -> None:
        self._start(
            f"node-{node}",
            "flower-supernode",
            *("--superlink", f"127.0.0.1:{self.relays[node].port}"),
            *("--root-certificates", str(self.folder / AUTHORITY)),
            *("--auth-supernode-private-key", str(self.folder / f"node-{node}")),
            *("--node-config", f"partition-id={node} num-partitions={self.nodes}"),
            *("--port", str(_free_port())),
        )

    def _start_superlink(self) -> None:
        self._start(
            "superlink",
            "flower-superlink",
            *("--ssl-ca-certfile", str(self.folder / AUTHORITY)),
            *("--ssl-certfile", str(self.folder / CERTIFICATE)),
            *("--ssl-keyfile", str(self.folder / KEY)),
            *("--host", "127.0.0.1", "--port", str(self._port)),
            "--simulation" if self.simulated else "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        )
        trusted = ssl.create_default_context(cafile=str(self.folder / AUTHORITY))
        end = time.monotonic() + READY_S
        while True:
            with suppress(httpx.HTTPError):
                httpx.get(f"https://127.0.0.1:{self._port}/health", verify=trusted).raise_for_status()
                return
            if time.monotonic() > end or self._processes["superlink"].poll() is not None:
                raise self._failed("superlink", "no answer")
            time.sleep(POLL_S)

    def _start(self, name: str, program: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - as above
                [str(BIN / program), *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        family = _with_descendants(process.pid)  # the SuperLink's own are not in its group
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        for kill, pid in ((os.killpg, process.pid), *((os.kill, member) for member in family)):
            with suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        process.wait()

    def _flwr(self, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603 - as above
            [str(BIN / "flwr"), *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise self._failed(
                f"flwr {arguments[0]} {arguments[1]}", (done.stdout + done.stderr).strip()[-200:]
            )

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "FLWR_HOME": str(self.folder / "flower"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": str(POLL_S),
            "PYTHONUNBUFFERED": "1",
        }

    def _failed(self, who: str, got: str) -> DeploymentError:
        return DeploymentError(who, got, "a running deployment", f"Read the logs in {self.folder}")


def main(
    nodes: Annotated[int, typer.Option(min=1, help="SuperNodes, one per client.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="How many.")] = 6,
    output: Annotated[Path, typer.Option(help="Checkpoint, adapter, logs.")] = Path("results/flower"),
    run_config: Annotated[str, typer.Option(help="More settings, as in: batch=16 solver='equal'.")] = "",
    kill: Annotated[str, typer.Option(help="NODE:ROUND, a node to kill in a round.")] = "",
    simulate: Annotated[bool, typer.Option("--simulate", help="Flower's simulated nodes.")] = False,
) -> None:
    """Fine-tune over a SuperLink and SuperNodes on this machine, with TLS and authenticated nodes.

    The same command goes on from the output folder's checkpoint.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that contexts are left
    victim, in_round = (None, 0) if simulate else kill_plan(kill, nodes, rounds)
    make_folder(output)
    settings = (f"clients={nodes}", f"rounds={rounds}", f'output="{output.resolve()}"', run_config)
    with (
        tempfile.TemporaryDirectory(prefix="stsflora-") as folder,
        Deployment(Path(folder), nodes, simulate) as deployment,
    ):
        for line in deployment.run(*settings):
            typer.echo(line)
            if victim is not None and f"round {in_round - 1}: top-1" in line:
                deployment.kill_at_work(victim)
                typer.echo(f"node {victim} killed")
        up_bytes = sum(relay.up_bytes for relay in deployment.relays)
        down_bytes = sum(relay.down_bytes for relay in deployment.relays)
    _, logs, _ = load_checkpoint(output / CHECKPOINT, with_tensors=False)
    if len(logs) < rounds:
        raise DeploymentError(
            "the run", f"{len(logs)} of {rounds} rounds", "all of them", "Run it again to go on"
        )
    tokens, formula = (sum(getattr(log, name) for log in logs) for name in ("uplink_bytes", "formula_bytes"))
    typer.echo(f"tokens of {rounds} rounds: {tokens:,} bytes, formula {formula:,} bytes")
    if not simulate:
        typer.echo(f"all that crossed the wire in this run: {up_bytes:,} bytes up, {down_bytes:,} bytes down")


def kill_plan(text: str, nodes: int, rounds: int) -> tuple[int | None, int]:
    """Node and round of "2:1", or None. Raises OptionError."""
    if not text:
        return None, 0
    match = re.fullmatch(r"(\d+):(\d+)", text)
    node, index = map(int, match.groups()) if match else (nodes, rounds)
    if node >= nodes or not 0 < index < rounds:
        allowed = f"0 to {nodes - 1}, a colon, 1 to {rounds - 1}"
        raise OptionError("--kill", f"{text!r:.40}", allowed, "Write 2:1")
    return node, index


def _with_descendants(pid: int) -> list[int]:
    """A process and all that it started directly or not, whatever sessions they are in."""
    command = ["ps", "-A", "-o", "pid=,ppid="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - a fixed command
    parents = {int(child): int(parent) for child, parent in map(str.split, listing.stdout.splitlines())}
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    try:
        typer.run(main)
    except StsfloraError as error:
        sys.exit(f"Error: {error}")
