"""The Policy service: keeps every document, checks changes whole, publishes snapshots."""
