"""Steps of a profile: conditions and typed outputs."""
