"""The `stsflora` command."""
