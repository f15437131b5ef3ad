"""The running snapshot in a service that does not own it: watched, compiled, cached on disk."""
