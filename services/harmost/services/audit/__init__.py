"""The audit log's files, keys and witnesses: what its one sequencer and whoever reads it share."""
