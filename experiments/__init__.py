"""Fine-tuning that carries solvers' decisions through to accuracy, and the paper's tables and figures."""
