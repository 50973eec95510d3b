"""What a benchmark runs, as data; no row depends on it."""
