"""Vectors of every vendor on loopback, each proven by its own client."""
