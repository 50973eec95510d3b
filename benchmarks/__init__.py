"""Instance families, the benchmark, its reports and the command line."""
