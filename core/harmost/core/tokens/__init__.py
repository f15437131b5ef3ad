"""How many tokens a text will be, before the provider says."""
