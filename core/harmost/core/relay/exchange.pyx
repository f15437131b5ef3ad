"""One attempt's answer as it comes: provider bytes in, framed messages out; see exchange.pyi.

Source: gRPC over HTTP/2, "Length-Prefixed-Message"; protobuf, "Encoding".
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from harmost.core.providers.buffer cimport (
    Buffer,
    buffer_clear,
    buffer_free,
    buffer_reserve,
)
from harmost.core.providers.scan_aws cimport (
    AWS_CORRUPT,
    aws_close,
    aws_feed,
    aws_next,
    aws_open,
)
from harmost.core.providers.scan_delta cimport (
    DELTA_NOTHING,
    DELTA_TEXT,
    DeltaScan,
    Slice,
    scan_anthropic,
    scan_bedrock,
    scan_openai,
    unescape,
)
from harmost.core.providers.scan_gemini cimport scan_gemini
from harmost.core.providers.scan_sse cimport (
    SSE_EVENT,
    SSE_MORE,
    SSE_NO_MEMORY,
    sse_close,
    sse_feed,
    sse_next,
    sse_open,
)

from harmost.core.limits import SSE_LINE_BYTES_MAX
from harmost.core.providers.codec import (
    Ended,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
    framing,
)
from harmost.core.providers.failures import broken
from harmost.core.providers.registry import codec
from harmost.core.relay.kept import Kept

# No vocabulary in use reaches 16 bytes a token over a whole answer; a stream that does is not
# counted in tokens but in bytes, so that the hold bounds it whatever the provider says.
cdef int64_t TOKEN_BYTES = 16
cdef int64_t TOKENS_MAX = 1 << 58  # in bytes still below 2**63
TOKEN_BYTES_MAX = TOKEN_BYTES

# Tags of harmost.router.v1: StreamChatResponse.sequence, .delta, .tool_call_delta; Delta.step_index,
# .attempt_id (ToolCallDelta's are the same), .text, .reasoning; Reasoning.text, .signature;
# ToolCallDelta.tool_call_index, .call_id, .name, .arguments_json.
cdef enum:
    SEQUENCE_TAG = 0x08
    DELTA_TAG = 0x22
    TOOL_CALL_DELTA_TAG = 0x2A
    STEP_INDEX_TAG = 0x08
    ATTEMPT_ID_TAG = 0x1A
    TEXT_TAG = 0x22
    REASONING_TAG = 0x2A
    REASONING_TEXT_TAG = 0x0A
    SIGNATURE_TAG = 0x12
    TOOL_CALL_INDEX_TAG = 0x20
    CALL_ID_TAG = 0x2A
    NAME_TAG = 0x32
    ARGUMENTS_TAG = 0x3A
    PREFIX_BYTES = 5     # gRPC: not compressed, length in 32 bits
    VARINT_BYTES_MAX = 10


cdef class OutputScan:
    """What stands between the answer and the caller; see exchange.pyi."""

    cpdef bytes pass_on(self, bytes text):
        return text

    cpdef bytes end(self):
        return b""


cdef class AttemptExchange:
    """Feed it until `done`; see exchange.pyi."""

    def __cinit__(
        self,
        str codec_name not None,
        *,
        int64_t output_tokens_max,
        str attempt_id not None,
        int64_t step_index=0,
        int64_t first_sequence=0,
        bint shortened=False,
        bint keep_text=False,
        OutputScan output_scan=None,
        grow=None,
    ):
        if not 0 < output_tokens_max <= TOKENS_MAX:
            raise ValueError(f"output_tokens_max must be in 1..{TOKENS_MAX}: {output_tokens_max}")
        if not 0 <= step_index < 1 << 31 or first_sequence < 0:
            raise ValueError("step_index and first_sequence must not be negative")
        format_ = codec(codec_name)
        self._reader = format_.reader()
        self._is_aws = framing(format_) == "aws"
        if codec_name in ("openai", "azure"):
            self._scan = scan_openai
        elif codec_name == "anthropic":
            self._scan = scan_anthropic
        elif codec_name == "bedrock":
            self._scan = scan_bedrock
        elif codec_name == "gemini":
            self._scan = scan_gemini
        sse_open(&self._sse, SSE_LINE_BYTES_MAX)
        aws_open(&self._aws, SSE_LINE_BYTES_MAX)
        self._head = delta_head(step_index, attempt_id.encode())
        self._output_scan = output_scan
        self._grow = grow
        self._bytes_max = output_tokens_max * TOKEN_BYTES if grow is None else 0
        if keep_text:
            self._kept = Kept()
        self._shortened = shortened
        self.output_tokens_max = output_tokens_max
        self.next_sequence = first_sequence
        self.response_id = ""

    def __dealloc__(self):
        sse_close(&self._sse)
        aws_close(&self._aws)
        buffer_free(&self._out)
        buffer_free(&self._plain)

    @property
    def done(self) -> bool:
        return self.finish_reason is not None or self.error is not None

    @property
    def cut(self) -> bool:
        return not self._ended and self.finish_reason == "budget_exhausted"

    @property
    def text(self) -> str:
        return self._kept.text if self._kept is not None else ""

    @property
    def parts(self) -> tuple:
        return self._kept.parts if self._kept is not None else ()

    cpdef receive(self, bytes data):
        if data is None:
            raise TypeError("data must be bytes")
        if self._over:
            return None
        buffer_clear(&self._out)
        if self._is_aws:
            aws_feed(&self._aws, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        else:
            sse_feed(&self._sse, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        try:
            self._read()
        except:
            # An output scan that fails must not let through what follows.
            self._over = True
            raise
        return self._framed()

    cdef bytes _framed(self):
        """What goes on to the caller now; None: nothing."""
        if self._out.size == 0:
            return None
        return PyBytes_FromStringAndSize(self._out.data, self._out.size)

    cpdef finish(self):
        if self._over:
            return None
        self._over = True
        buffer_clear(&self._out)
        self._take(self._reader.finish())
        return self._framed()

    def fail(self, error) -> None:
        if self.finish_reason is None and self.error is None:
            self.error = error

    def stop(self) -> None:
        if self.finish_reason is None and self.error is None:
            self.finish_reason = "budget_exhausted"

    cdef int _read(self) except -1:
        cdef int status = SSE_EVENT
        while not self._over:
            status = self._next()
            if status != SSE_EVENT:
                break
            self._take_event()
        if status == SSE_NO_MEMORY:
            raise MemoryError
        if status == AWS_CORRUPT:
            self._over = True
            self.fail(broken("the stream is no event stream of AWS, or was changed on the way"))
        elif status != SSE_EVENT and status != SSE_MORE:
            self._over = True
            self._take(self._reader.overflow())
        return 0

    cdef int _next(self) noexcept:
        """The next event of the stream, as its framing finds it; what `sse_next` says."""
        cdef int status
        if self._is_aws:
            status = aws_next(&self._aws)
            self._event = self._aws.event
            self._event_size = self._aws.event_size
        else:
            status = sse_next(&self._sse)
            self._event = self._sse.event
            self._event_size = self._sse.event_size
        return status

    cdef int _take_event(self) except -1:
        cdef Slice text
        cdef int found
        if self._scan == NULL:
            return self._take_slowly()
        found = self._scan(self._event, self._event_size, self._id_known, &text)
        if found == DELTA_NOTHING:
            return 0
        if found != DELTA_TEXT:
            return self._take_slowly()
        if not text.escaped:
            return self._admit(text.data, text.size)
        self._plain.size = 0
        if not buffer_reserve(&self._plain, text.size):
            raise MemoryError
        return self._admit(self._plain.data, unescape(&text, self._plain.data))

    cdef int _take_slowly(self) except -1:
        """What the scanner does not know: the vendor's reader decides."""
        self._take(self._reader.take(PyBytes_FromStringAndSize(self._event, self._event_size)))
        self._id_known = bool(self._reader.response_id)
        if self._reader.over:
            self._over = True
        return 0

    cdef int _take(self, list events) except -1:
        cdef bytes text
        for event in events:
            kind = type(event)
            if kind is TextDelta:
                if event.text:
                    text = (<str>event.text).encode()
                    self._admit(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            elif kind is ToolCallDelta:
                self._tool_call(event)
            elif kind is ReasoningDelta:
                self._reasoning(event)
            elif kind is UsageReported:
                self.usage = event.usage
            elif kind is Ended:
                self._end(event)
            else:
                self.fail(event)
        return 0

    def _end(self, ended):
        self.response_id = ended.response_id
        if self.done:
            return
        self._ended = True
        shortened = self._shortened and ended.finish_reason == "length"
        self.finish_reason = "budget_exhausted" if shortened else ended.finish_reason
        self._release()

    cdef int _admit(self, const char* text, Py_ssize_t size) except -1:
        """One piece of the answer's text: count it, and send it on if the hold has room for it."""
        if not self._fits(size):
            return 0
        if self._output_scan is None:
            return self._send(text, size)
        return self._pass_on(self._output_scan.pass_on(PyBytes_FromStringAndSize(text, size)))

    cdef bint _fits(self, Py_ssize_t size) except -1:
        """Count a piece of `size` bytes; False: it may not go on, since the answer is over or cut."""
        # INVARIANT: what was sent on fits the hold: each delta is at least one token, and
        # a token is at most TOKEN_BYTES bytes.
        if self.finish_reason is not None or self.error is not None:
            return False
        if self.deltas >= self.output_tokens_max or (
            size > self._bytes_max - self.text_bytes and not self._grown(size)
        ):
            self.finish_reason = "budget_exhausted"
            self._release()
            return False
        self.deltas += 1
        self.text_bytes += size
        return True

    def _tool_call(self, delta):
        """Arguments pass through no output scan: half a JSON text is nothing to replace words in."""
        cdef bytes arguments = (<str>delta.arguments).encode()
        cdef bytes name = (<str>delta.name).encode()
        if not self._fits(PyBytes_GET_SIZE(arguments) + PyBytes_GET_SIZE(name)):
            return
        fields = (
            number_field(TOOL_CALL_INDEX_TAG, delta.index)
            + bytes_field(CALL_ID_TAG, (<str>delta.call_id).encode())
            + bytes_field(NAME_TAG, name)
            + bytes_field(ARGUMENTS_TAG, arguments)
        )
        self._frame(TOOL_CALL_DELTA_TAG, fields, 0, NULL, 0)
        if self._kept is not None:
            self._kept.tool_call(delta)

    def _reasoning(self, delta):
        """What the provider shows of it is billed as output. Its seal is no token."""
        cdef bytes text = (<str>delta.text).encode()
        if not self._fits(PyBytes_GET_SIZE(text)):
            return
        self.reasoning_bytes += PyBytes_GET_SIZE(text)
        reasoning = bytes_field(REASONING_TEXT_TAG, text) + bytes_field(SIGNATURE_TAG, delta.signature)
        self._frame(DELTA_TAG, bytes_field(REASONING_TAG, reasoning), 0, NULL, 0)
        if self._kept is not None:
            self._kept.reasoning(delta)

    cdef int _grown(self, Py_ssize_t size) except -1:
        """Whether the hold, asked to grow, has room for `size` bytes more."""
        if self._grow is None:
            return False
        self._bytes_max = min(
            <int64_t>self._grow(self.text_bytes + size), self.output_tokens_max * TOKEN_BYTES
        )
        return size <= self._bytes_max - self.text_bytes

    cdef int _release(self) except -1:
        """The answer is over: what the output scan holds back may go."""
        if self._output_scan is None:
            return 0
        return self._pass_on(self._output_scan.end())

    cdef int _pass_on(self, bytes text) except -1:
        if not text:
            return 0
        return self._send(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))

    cdef int _send(self, const char* text, Py_ssize_t size) except -1:
        """A delta of text."""
        self._frame(DELTA_TAG, None, TEXT_TAG, text, size)
        if self._kept is not None:
            self._kept.text_piece(PyBytes_FromStringAndSize(text, size))
        return 0

    cdef int _frame(
        self, uint8_t tag, bytes fields, uint8_t text_tag, const char* text, Py_ssize_t size
    ) except -1:
        """Append one message to `_out`: gRPC's prefix, then what protobuf would write.

        The event `tag` is the head, then `fields`, or without them `text` as the field `text_tag`.
        """
        cdef Py_ssize_t head_size = PyBytes_GET_SIZE(self._head)
        cdef Py_ssize_t event_size = head_size
        cdef Py_ssize_t message_size
        cdef uint8_t* out
        event_size += PyBytes_GET_SIZE(fields) if fields is not None else 1 + varint_size(size) + size
        message_size = 1 + varint_size(event_size) + event_size
        if self.next_sequence:  # proto3 writes no zeros
            message_size += 1 + varint_size(self.next_sequence)
        if not buffer_reserve(&self._out, PREFIX_BYTES + message_size):
            raise MemoryError
        out = write_prefix(<uint8_t*>self._out.data + self._out.size, message_size)
        if self.next_sequence:
            out = write_varint(out, SEQUENCE_TAG, self.next_sequence)
        out = write_varint(out, tag, event_size)
        memcpy(out, PyBytes_AS_STRING(self._head), head_size)
        out += head_size
        if fields is not None:
            memcpy(out, PyBytes_AS_STRING(fields), PyBytes_GET_SIZE(fields))
        else:
            memcpy(write_varint(out, text_tag, size), text, size)
        self._out.size += PREFIX_BYTES + message_size
        self.next_sequence += 1
        return 0


cdef bytes number_field(uint8_t tag, int64_t number):
    """A varint field as protobuf writes it; nothing for 0."""
    cdef uint8_t[VARINT_BYTES_MAX + 1] field
    if number == 0:
        return b""
    return PyBytes_FromStringAndSize(<char*>field, write_varint(field, tag, number) - field)


cdef bytes bytes_field(uint8_t tag, bytes value):
    """A string or bytes field as protobuf writes it; nothing for an empty one."""
    return number_field(tag, PyBytes_GET_SIZE(value)) + value if value else b""


cdef bytes delta_head(int64_t step_index, bytes attempt_id):
    """The fields of a delta before its text, which are the same in all of an attempt."""
    cdef uint8_t[2 * VARINT_BYTES_MAX + 2] head
    cdef uint8_t* out = head
    if step_index:
        out = write_varint(out, STEP_INDEX_TAG, step_index)
    if attempt_id:
        out = write_varint(out, ATTEMPT_ID_TAG, PyBytes_GET_SIZE(attempt_id))
    return PyBytes_FromStringAndSize(<char*>head, out - head) + attempt_id


cdef inline Py_ssize_t varint_size(uint64_t number) noexcept nogil:
    cdef Py_ssize_t size = 1
    while number > 0x7F:
        number >>= 7
        size += 1
    return size


cdef inline uint8_t* write_varint(uint8_t* out, uint8_t tag, uint64_t number) noexcept nogil:
    """Write `tag`, then `number` in groups of seven bits, low ones first; the end of it."""
    out[0] = tag
    out += 1
    while number > 0x7F:
        out[0] = number & 0x7F | 0x80
        number >>= 7
        out += 1
    out[0] = number
    return out + 1


cdef inline uint8_t* write_prefix(uint8_t* out, Py_ssize_t size) noexcept nogil:
    out[0] = 0
    out[1] = size >> 24 & 0xFF
    out[2] = size >> 16 & 0xFF
    out[3] = size >> 8 & 0xFF
    out[4] = size & 0xFF
    return out + PREFIX_BYTES
