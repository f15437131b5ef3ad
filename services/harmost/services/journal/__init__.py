"""A Router's journal on its disk, and the shipping of its records to Telemetry."""
