"""What turns messages into replies or scores: one backend a file."""
