"""OpenTelemetry from records: spans, metrics, and where they are sent. ADR 24 says why without the SDK."""
