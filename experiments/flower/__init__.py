"""ST-SFLora on Flower: federated rounds with clients on a network."""
