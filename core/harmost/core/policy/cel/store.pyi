"""Typed face of store.pyx: it has nothing for Python."""
