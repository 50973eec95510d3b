"""ST-SFLora on Flower: the same rounds as in one process, with clients at the far end of a network."""
