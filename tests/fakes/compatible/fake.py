"""One fake of the servers that speak OpenAI's chat.completions, each in its own way (flavours.py)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fakes.compatible.flavours import FLAVOURS, Flavour, Refusal
from fakes.serve import Fake, Reply, Seen

__all__ = ["KEY", "UNOFFERED", "CompatibleFake"]

KEY = "sk-compatible"
UNOFFERED: Mapping[str, str] = {
    "cache_write": "openai/openai-openapi, `CompletionUsage`, which they follow: reads alone",
    "filtered": 'docs.vllm.ai, "OpenAI-Compatible Server": no finish reason and no error for it',
}
_FAULTS: Mapping[str, Refusal] = {
    "bad_request": Refusal(400, "messages must not be empty", "invalid_request_error"),
    "unauthorized": Refusal(401, "Unauthorized", "authentication_error", "invalid_api_key"),
    "not_found": Refusal(404, "The model `m` does not exist.", "NotFoundError"),
    "throttled": Refusal(429, "Rate limit reached", "rate_limit_error", "rate_limit_exceeded"),
    "quota": Refusal(402, "Insufficient Balance", "unknown_error", "invalid_request_error"),
    "server_error": Refusal(500, "internal error", "server_error"),
    "overloaded": Refusal(503, "Server overloaded", "unavailable_error"),
    "timeout": Refusal(504, "upstream timed out", "timeout"),
}


@dataclass
class CompatibleFake(Fake):
    """`POST /v1/chat/completions` of the server `name`."""

    name: str = "vllm"

    @property
    def flavour(self) -> Flavour:
        """What it does otherwise."""
        return FLAVOURS[self.name]

    def reply(self, seen: Seen) -> Reply:
        """The answer whole, or streamed where `stream` asks for it."""
        if (seen.method, seen.path) != ("POST", "/v1/chat/completions"):
            return self._refused(Refusal(404, "Not Found"))
        refusal = _FAULTS.get(self.fault)
        if seen.headers.get("authorization") != f"Bearer {KEY}":
            refusal = _FAULTS["unauthorized"]
        if self.fault == "context_too_long":
            refusal = self.flavour.context
        refusal = refusal or next(self._wrong(seen.json), None)
        if refusal is not None:
            return self._refused(refusal)
        asked = seen.json
        if not asked.get("stream"):
            return Reply.of({**self._frame(), **self._whole(asked)})
        told = [f"data: {json.dumps(each, ensure_ascii=False)}\n\n" for each in self._chunks(asked)]
        if self.flavour.comments:
            told.insert(0, ": OPENROUTER PROCESSING\n\n")
        pieces = [each.encode() for each in (*told, "data: [DONE]\n\n")]
        return Reply(200, {"content-type": "text/event-stream"}, pieces)

    def _refused(self, why: Refusal) -> Reply:
        wait = {"retry_after": str(self.retry_after_s)} if self.fault == "throttled" else {}
        named = {"message": why.message, "type": why.type, "param": None, "code": why.code}
        body: dict[str, Any] = {"error": named}
        match self.flavour.errors:
            case "bare":
                body = {"object": "error", **named}
            case "words":
                body = {"code": why.code or why.type, "error": why.message}
            case "detail" if why.status == 422:
                body = {"detail": [{"type": "extra_forbidden", "msg": why.message}]}
            case "detail":
                body = {"object": "error", **named, "raw_status_code": why.status}
            case "error":
                pass
        return Reply.of(body, why.status, **wait)

    def _wrong(self, asked: Any) -> Iterator[Refusal]:
        flavour = self.flavour
        for field in flavour.refused:
            if field in asked or asked.get("response_format", {}).get("type") == field:
                why = f"Extra inputs are not permitted: {field}"
                yield Refusal(flavour.refused_status, why, "invalid_request_error")
        if len(asked.get("stop", ())) > flavour.stop_max:
            yield Refusal(400, f"stop takes at most {flavour.stop_max} sequences")
        if asked.get("temperature", 0) > flavour.temperature_max:
            yield Refusal(422, f"temperature must be at most {flavour.temperature_max}")
        choice = asked.get("tool_choice", "auto")
        mode = "named" if isinstance(choice, dict) else choice
        heeded = "tool_choice" not in flavour.ignored and mode != "auto"
        if heeded and mode not in flavour.tool_choice:
            yield Refusal(400, f"Invalid tool_choice: {mode}")
        for message in asked["messages"]:
            yield from self._wrong_message(message)

    def _wrong_message(self, message: Any) -> Iterator[Refusal]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            url = part.get("image_url", {}).get("url", "data:")
            if not self.flavour.image_urls and not url.startswith("data:"):
                yield Refusal(400, "image URLs are not currently supported, please use base64")
        calls = message.get("tool_calls", ())
        ids = [call["id"] for call in calls] + [message.get("tool_call_id")]
        for call_id in filter(None, ids):
            if self.flavour.nine and not (len(call_id) == 9 and call_id.isalnum()):
                why = f"Tool call id was {call_id} but must be a-z, A-Z, 0-9, with a length of 9."
                yield Refusal(400, why, "invalid_request_message_order")
        if calls and self.flavour.needs_reasoning_back and not message.get("reasoning_content"):
            yield Refusal(400, "Missing `reasoning_content` field in the assistant message")

    def _thinks(self, asked: Any) -> bool:
        """Whether it shows its reasoning: each has another word for no."""
        off = (
            asked.get("chat_template_kwargs", {}).get("enable_thinking") is False
            or asked.get("thinking", {}).get("type") == "disabled"
            or asked.get("reasoning", {}).get("effort") == "none"
            or (
                ("reasoning_effort" not in self.flavour.ignored)
                and asked.get("reasoning_effort") == "none"
            )
        )
        return bool(self.answer.reasoning) and not off

    def _frame(self) -> dict[str, Any]:
        return {"id": "cmpl-7", "object": "chat.completion", "created": 1_795_600_000, "model": "m"}

    def _finish(self) -> str:
        return self.flavour.length if self.answer.finish == "length" else self.answer.finish

    def _usage(self) -> dict[str, Any]:
        answer = self.answer
        usage: dict[str, Any] = {
            "prompt_tokens": answer.input_tokens,
            "completion_tokens": answer.output_tokens,
            "total_tokens": answer.input_tokens + answer.output_tokens,
        }
        if self.name == "deepseek":
            usage["prompt_cache_hit_tokens"] = answer.cached_tokens
            usage["prompt_cache_miss_tokens"] = answer.input_tokens - answer.cached_tokens
        else:
            usage["prompt_tokens_details"] = {"cached_tokens": answer.cached_tokens}
        if self.name == "xai":  # the completion is counted without its reasoning
            usage["completion_tokens"] -= answer.reasoning_tokens
        usage["completion_tokens_details"] = {"reasoning_tokens": answer.reasoning_tokens}
        return usage

    def _content(self, text: str, *, thought: bool) -> dict[str, Any]:
        """A piece of the answer as a message or a delta holds it."""
        if not thought:
            return {"content": text}
        if self.flavour.reasoning == "content":
            said = [{"type": "text", "text": text}]
            return {"content": [{"type": "thinking", "thinking": said}]}
        return {self.flavour.reasoning: text}

    def _calls(self) -> list[dict[str, Any]]:
        return [
            {
                "index": index,
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json},
            }
            for index, call in enumerate(self.answer.calls)
        ]

    def _whole(self, asked: Any) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.answer.text or None}
        if self._thinks(asked):
            thought = self._content(self.answer.reasoning, thought=True)
            if "content" in thought:
                words = [{"type": "text", "text": self.answer.text}]
                thought = {"content": thought["content"] + words}
            message |= thought
        if self.answer.calls:
            message["tool_calls"] = self._calls()
        choice = {"index": 0, "message": message, "finish_reason": self._finish()}
        return {"choices": [choice], "usage": self._usage()}

    def _chunks(self, asked: Any) -> Iterator[dict[str, Any]]:
        frame = {**self._frame(), "object": "chat.completion.chunk"}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if self._thinks(asked):
            deltas += [self._content(p, thought=True) for p in _pieces(self.answer.reasoning)]
        deltas += [self._content(p, thought=False) for p in _pieces(self.answer.text)]
        if self.answer.calls:
            deltas.append({"tool_calls": self._calls()})
        for delta in deltas:
            yield {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        last = {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": self._finish()}]}
        flavour = self.flavour
        if flavour.usage == "always":
            yield {**last, "usage": self._usage()}
        elif flavour.usage == "x_groq":
            yield {**last, "x_groq": {"id": "req_1", "usage": self._usage()}}
        else:
            yield last
            if asked.get("stream_options", {}).get("include_usage"):
                yield {**frame, "choices": [], "usage": self._usage()}


def _pieces(words: str) -> list[str]:
    return [words[at : at + 7] for at in range(0, len(words), 7)]
