"""The Router: governed calls, from admission to record. Start at service.py, then mission.py."""
