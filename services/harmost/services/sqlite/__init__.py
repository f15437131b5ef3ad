"""SQLite as the embedded store: one process to a file, write-ahead log, migrations forwards only."""

from harmost.services.sqlite.database import open_database

__all__ = ["open_database"]
