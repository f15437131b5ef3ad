"""Vendor wire formats as pure functions: a request to bytes, a stream's events to ours.

`codec.py` states what a codec offers, `registry.py` finds one by name. `scan_sse` splits a stream
into events, `scan_aws` one of AWS, `scan_delta` reads the common one without the codec; core/relay puts them together.
"""
