"""`harmost models`: what there is to call, what it can, and what it costs."""
