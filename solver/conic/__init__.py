"""The convex relaxation behind `relaxed`."""
