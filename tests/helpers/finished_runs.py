"""Finished fine-tuning runs."""

from stsflora.experiments.finetune.run_records import FinishedRun

RUN = FinishedRun(
    data="flowers102",
    model="vit_tiny_patch16_224",
    partition="dirichlet",
    method="sflora",
    cut=2,
    rounds=60,
    top1=0.9,
)
"""A run that fills a cell of Table I."""
