"""`harmost replay`: a trace of arrivals through the running mesh, and the proof of what it cost."""
