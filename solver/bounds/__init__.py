"""What is possible: upper bounds that hold whatever a method did."""
