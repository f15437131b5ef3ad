"""The documents that an operator says harmost by: their kinds, how they parse, what they resolve to."""
