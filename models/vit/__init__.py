"""Vision transformers: weights, split, attention, tokens, adapters."""
