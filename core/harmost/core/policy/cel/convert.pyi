"""Typed face of convert.pyx: it has nothing for Python."""
