"""Small experiments on the cost and form of solvers, each a command."""
