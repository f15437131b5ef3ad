"""Tokens and keys of the clouds, each fetched by the vendor's own library, which an extra brings.

A fetch builds the library's object anew: variables and files that have changed since are read again.
Every function blocks, and raises NotPossibleNow that quotes nothing but a vendor's error code.
"""
