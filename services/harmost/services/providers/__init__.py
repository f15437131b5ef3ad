"""Model providers as documents describe them, joined with their codecs and credentials.

`credentials` reads keys, `sources` leads from a reference to where tokens come from, `grants` keeps
one fresh and `refresh` all of them, `credential` says what a request gets. Who calls is `services/upstream`.
"""
