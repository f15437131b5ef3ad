"""What an operator does to a running mesh, without a terminal: find it, call it, make keys for it."""
