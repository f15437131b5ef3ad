"""Typed face of residual.pyx."""

from collections.abc import Sequence

from harmost.core.policy.cel.frame import Frame, Schema
from harmost.core.policy.cel.vm import Program

class Residuals:
    """Answers of `programs` for the call at hand, each found when first asked for.

    `asks_candidate` says of each whether it asks about the candidate: those are run for each, the
    others once. For compiled modules; one thread at a time.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        asks_candidate: Sequence[bool],
        frame: Frame,
        schema: Schema,
    ) -> None: ...
