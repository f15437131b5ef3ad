"""Model providers as the network shows them: endpoints, credentials, sockets.

`upstream.py` is the interface, `aiohttp_upstream.py` the implementation, `endpoints.py` joins a
`Provider` document with its codec and its credentials.
"""
