"""Vendor wire formats as pure functions: request to bytes, bytes to events."""
