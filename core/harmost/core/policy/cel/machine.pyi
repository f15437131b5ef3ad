"""Typed face of machine.pyx: it has nothing for Python."""
