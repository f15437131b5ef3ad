"""Typed face of value.pyx: it has nothing for Python."""
