"""Models around the solvers: the wireless cell, its clients and their tokens."""
