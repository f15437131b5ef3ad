"""Servers that answer as vendors do, one package a vendor; what they share is beside them."""
