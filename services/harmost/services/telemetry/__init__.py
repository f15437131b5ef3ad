"""The Telemetry service: takes records, keeps them, answers questions about them."""
