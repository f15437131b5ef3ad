"""Typed face of scratch.pyx: it has nothing for Python."""
