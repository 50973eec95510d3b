"""The mixed-integer program behind `minlp`."""
