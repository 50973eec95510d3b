"""Fine-tuning runs that carry a solver's decisions through to accuracy."""
