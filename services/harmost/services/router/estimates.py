"""What one attempt is expected to use, and what it is taken to have used where nobody says.

Teaches the calibration what the provider counted. Never more than what is held: the input is cut at
its bound, the answer at the cap that the provider was given.
"""

from collections.abc import Sequence

import msgspec

from harmost.core.chat import Message
from harmost.core.tokens.calibration import Calibration
from harmost.core.tokens.estimate import bytes_bound, template_tokens
from harmost.core.tokens.measure import Shape
from harmost.core.usage import TokenUsage
from harmost.services.router.tokenizer import Tokenizer

__all__ = ["Estimates"]


class Estimates:
    """Of one attempt of `profile` on `model`, whose messages have `shape`."""

    def __init__(
        self, calibration: Calibration, tokenizer: Tokenizer, profile: str, model: str, shape: Shape
    ) -> None:
        self._calibration = calibration
        self._tokenizer = tokenizer
        self._profile, self._model, self._shape = profile, model, shape
        self.input_tokens = calibration.input_tokens(profile, model, shape)

    def learn(self, said: TokenUsage, *, text_bytes: int, text_alone: bool) -> None:
        """The provider counted `said`; its visible answer had so many bytes.

        `text_alone`: it read nothing but the messages, not what its own tools found, say.
        """
        calibration, profile, model = self._calibration, self._profile, self._model
        if text_alone:
            calibration.learn_input(profile, model, self._shape, said.input_tokens)
        visible = said.output_tokens - said.reasoning_output_tokens
        calibration.learn_output(profile, model, text_bytes, visible)

    def output_tokens(self, *, deltas: int, text_bytes: int, output_tokens_max: int) -> int:
        """About how many tokens were delivered, each piece being one at least."""
        tokens = self._calibration.output_tokens(self._profile, self._model, text_bytes)
        return max(deltas, min(tokens, output_tokens_max))

    async def usage(
        self,
        said: TokenUsage | None,
        *,
        reference: str,
        messages: Sequence[Message],
        output_tokens: int,
    ) -> TokenUsage:
        """What `output_tokens` delivered used. `said` came before the end: it still tells the input.

        `reference` names the tokenizer that counts the input; "": it is estimated.
        """
        if said is not None:
            return msgspec.structs.replace(
                said,
                output_tokens=max(said.output_tokens, output_tokens),
                exact=False,
            )
        input_tokens = await self._counted(reference, messages) if reference else None
        if input_tokens is None:
            input_tokens = self.input_tokens
        return TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens, exact=False)

    async def _counted(self, reference: str, messages: Sequence[Message]) -> int | None:
        texts = [message.text for message in messages]
        counted = await self._tokenizer.count(reference, texts, utf8_bytes=self._shape.utf8_bytes)
        if counted is None:
            return None
        # A vocabulary that is not the model's own might count more than there can be.
        tokens = counted + template_tokens(len(texts))
        tokens = min(tokens, bytes_bound(self._shape.utf8_bytes, self._shape.messages))
        self._calibration.learn_input(self._profile, self._model, self._shape, tokens)
        return tokens
