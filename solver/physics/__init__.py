"""What an upload costs: rate, time, energy, bandwidth need."""
