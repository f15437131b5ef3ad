"""Vendor wire formats as pure functions: a request to bytes, answer bytes to events.

`codec.py` states what a codec offers, `registry.py` finds one by name.
"""
