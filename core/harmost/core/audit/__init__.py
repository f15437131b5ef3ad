"""The journal rows of a governed call."""
