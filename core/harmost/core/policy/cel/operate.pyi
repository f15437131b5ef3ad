"""Typed face of operate.pyx: it has nothing for Python."""
