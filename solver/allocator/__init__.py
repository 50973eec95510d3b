"""The drop-in: plans rounds from what clients report."""
