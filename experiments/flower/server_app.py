"""Flower ServerApp: the rounds of `experiments/finetune/train.py` over the nodes of a grid."""

from __future__ import annotations

import logging
from typing import Final

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from ..finetune.checkpoint import RoundLog
from ..finetune.client_pool import ClientPool
from ..finetune.config import cache_folder
from ..finetune.run import Run
from ..finetune.train import finetune
from .grid_clients import GridClients
from .settings import read_settings

LOG: Final = logging.getLogger("flwr")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run all rounds; a checkpoint each, from which the same output folder goes on."""
    settings = read_settings(context.run_config)

    def clients(run: Run) -> ClientPool:
        nodes = GridClients(run, grid, settings.reply_timeout_s)
        nodes.wait(settings.start_timeout_s)
        return nodes

    finetune(
        settings.config,
        settings.output,
        cache=cache_folder(),
        device=settings.device.type,
        clients=clients,
        on_round=report,
    )


def report(log: RoundLog) -> None:
    """Log one line per round."""
    LOG.info(
        "round %d: top-1 %s, clients %s, K %s, %d bytes of tokens (formula %d), left out %s",
        log.index,
        "–" if log.accuracy is None else f"{100 * log.accuracy:.1f} %",
        log.clients,
        log.tokens,
        log.uplink_bytes,
        log.formula_bytes,
        log.left_out or "nobody",
    )
