"""What of a person stands in a text, and how it is replaced."""
