"""Split-LoRA fine-tuning whose rounds obey the decisions of a solver."""
