"""The wireless cell: gains, fading, mobility, devices."""
