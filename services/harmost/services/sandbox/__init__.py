"""A model provider that needs no key: a real HTTP server that speaks two vendors' formats.

It does as it is told (`knobs.py`): fails, stalls, throttles, breaks off, lies about usage. Its books
(`billing.py`, with `prices.py`) hold the truth and share no code with the mesh's own accounting.
"""
