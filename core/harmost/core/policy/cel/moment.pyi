"""Typed face of moment.pyx: it has nothing for Python."""
