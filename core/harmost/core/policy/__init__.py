"""Policy: facts in, one decision out."""
