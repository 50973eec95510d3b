"""Single questions about cost and form, each a command."""
