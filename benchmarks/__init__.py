"""Instance families, the benchmark, its reports and studies."""
