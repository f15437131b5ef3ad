"""What does: transport, stores, clocks, providers and the four services."""
