"""What every RPC passes before its servicer: key, role, bounds; and how errors leave."""
