"""Model providers as documents describe them, joined with their codecs and credentials.

Who calls them is `services/upstream`.
"""
