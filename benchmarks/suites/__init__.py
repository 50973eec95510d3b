"""Benchmark suites: what is run, as data. No row depends on this folder."""
