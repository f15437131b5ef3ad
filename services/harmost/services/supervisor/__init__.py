"""`harmost up`: every service of one machine, each its own process, started, watched and drained."""
