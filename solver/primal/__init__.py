"""What is good: searches for allocations."""
