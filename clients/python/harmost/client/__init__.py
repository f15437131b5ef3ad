"""Typed client of the Router: sync and async, an iterator of events."""
