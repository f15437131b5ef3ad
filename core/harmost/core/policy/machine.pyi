"""Typed face of machine.pyx."""

STEPS_MAX: int
