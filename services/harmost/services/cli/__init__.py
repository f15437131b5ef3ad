"""The command line, `harmost`. Each noun has its file; what is heavy is imported when it is used."""

__all__ = ["main"]


def main() -> int:
    """Run the command in `sys.argv`: 0 done, 1 refused or failed, 2 not understood."""
    from harmost.services.cli.app import run

    return run()
