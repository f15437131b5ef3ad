"""OpenTelemetry without its SDK: who a caller is in its trace, names of attributes, what is kept."""
