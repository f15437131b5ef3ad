"""What each vendor says it counted, read into one normal form: harmost.core.usage.TokenUsage."""
