"""x"""


def replay() -> None:
    """Play a trace."""
