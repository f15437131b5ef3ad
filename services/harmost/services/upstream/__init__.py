"""Calls to model providers: bytes are pushed to a sink as they come, nothing is awaited per token.

`upstream.py` is the interface. A call goes `client.py` → `pool.py` → `h2.py` or `h1.py`, and its
answer comes back from there through `call.py`. `engine.py` alone knows the HTTP/2 library.
"""
