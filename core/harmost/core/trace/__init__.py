"""Arrival traces: when requests come and how many tokens they carry; read, measured, generated."""
