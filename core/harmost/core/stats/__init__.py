"""Numbers that sum up many calls in little memory."""
