"""The bounds that protos state beside their fields (`harmost.options.v1.bounds`), enforced.

A plan is made once for each message type; a check visits only the fields that are set. Nearly every
request is sound, and telling so needs no names: only where one is not, it is walked again for them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from harmost.core.errors import InvalidInput, Violation
from harmost.options.v1 import options_pb2

__all__ = ["check"]

VIOLATIONS_MAX = 20  # enough to mend a request by; a hostile one gets no longer an answer

Report = Callable[[str, str], None]


Sound = Callable[[Any], bool]


class FieldPlan(NamedTuple):
    """What is asked of one field."""

    bytes_max: int
    items_max: int
    min: int | None
    max: int | None
    numbers: frozenset[int] | None  # defined values of an enum
    repeated: bool
    map_value_is_message: bool | None  # None: not a map
    message: bool


class Plan(NamedTuple):
    """What is asked of one message type: set fields by number, and fields that must be set."""

    fields: dict[int, FieldPlan]
    required: tuple[tuple[str, bool], ...]  # name, and whether presence is tracked


def check(message: Message) -> None:
    """Raise `InvalidInput` naming each field of `message` that breaks a bound. O(fields set)."""
    if _sound(message.DESCRIPTOR)(message):
        return
    violations: list[Violation] = []
    _check_message(message, "", lambda field, text: violations.append(Violation(field, text)))
    first = violations[0]  # INVARIANT: both walks agree; a test holds them together
    raise InvalidInput(
        f"`{first.field}` {first.description}", violations=violations[:VIOLATIONS_MAX]
    )


# The fast walk: one closure a message type, one a bounded field.


@cache
def _sound(descriptor: Descriptor) -> Sound:
    """Whether a message of this type keeps all its bounds."""
    plan = _plan(descriptor)
    present = tuple(name for name, has_presence in plan.required if has_presence)
    filled = tuple(name for name, has_presence in plan.required if not has_presence)
    fields: dict[int, Sound] = {}  # filled when first used: types may contain themselves

    def sound(message: Any) -> bool:
        for name in filled:
            if not getattr(message, name):
                return False
        for name in present:
            if not message.HasField(name):
                return False
        for field, value in message.ListFields():
            number = field.number
            check_field = fields.get(number)
            if check_field is None:
                check_field = fields[number] = _sound_field(plan.fields.get(number), field)
            if not check_field(value):
                return False
        return True

    return sound


def _sound_field(plan: FieldPlan | None, field: FieldDescriptor) -> Sound:
    if plan is None or not _is_bounded(field):
        return lambda _: True
    if not plan.repeated:
        return _sound_value(plan, field)
    items_max = plan.items_max
    if plan.map_value_is_message is not None:
        return _sound_map(plan, field)
    item_sound = _sound_value(plan, field)

    def sound(items: Any) -> bool:
        if items_max and len(items) > items_max:
            return False
        return all(map(item_sound, items))

    return sound


def _is_bounded(field: FieldDescriptor) -> bool:
    """Whether the field states a bound, or any below it does: a decision of a hundred hits has none."""
    waiting, seen = [field], set[Descriptor]()
    while waiting:
        each = waiting.pop()
        if each.GetOptions().Extensions[options_pb2.bounds] != options_pb2.Bounds():
            return True
        below = each.message_type
        if below is not None and below not in seen:
            seen.add(below)
            waiting += cast("list[FieldDescriptor]", below.fields)
    return False


def _sound_map(plan: FieldPlan, field: FieldDescriptor) -> Sound:
    entry = field.message_type
    assert entry is not None  # INVARIANT: a map is a message of key and value
    scalar = plan._replace(message=False)
    key_sound = _sound_value(scalar, entry.fields_by_name["key"])
    value = entry.fields_by_name["value"]
    value_sound = _sound_value(plan._replace(message=value.message_type is not None), value)
    items_max = plan.items_max

    def sound(items: Any) -> bool:
        if items_max and len(items) > items_max:
            return False
        return all(key_sound(key) and value_sound(item) for key, item in items.items())

    return sound


def _sound_value(plan: FieldPlan, field: FieldDescriptor) -> Sound:
    """By the field's type, as `_check_value` goes by the value's."""
    if plan.message and field.message_type is not None:
        return lambda value: _sound(value.DESCRIPTOR)(value)
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return _sound_size(plan.bytes_max)
    least, most, numbers = plan.min, plan.max, plan.numbers
    if least is None and most is None and numbers is None:
        return lambda _: True

    def sound(value: Any) -> bool:
        if least is not None and value < least:
            return False
        if most is not None and value > most:
            return False
        return numbers is None or value in numbers

    return sound


def _sound_size(bytes_max: int) -> Sound:
    if not bytes_max:
        return lambda _: True
    chars_max = bytes_max // 4  # of at most 4 bytes each

    def sound(value: Any) -> bool:
        return len(value) <= chars_max or _size(value, bytes_max) <= bytes_max

    return sound


# The slow walk: what is wrong, field by field.


def _check_message(message: Message, path: str, report: Report) -> None:
    plan = _plan(message.DESCRIPTOR)
    for name, has_presence in plan.required:
        if not (message.HasField(name) if has_presence else getattr(message, name)):
            report(f"{path}{name}", "is required: set it")
    for field, value in message.ListFields():
        wanted = plan.fields.get(field.number)
        if wanted is not None:
            _check_field(wanted, value, f"{path}{field.name}", report)


def _check_field(plan: FieldPlan, value: Any, path: str, report: Report) -> None:
    if not plan.repeated:
        _check_value(plan, value, path, report)
        return
    if plan.items_max and len(value) > plan.items_max:
        report(path, f"has {len(value)} entries: at most {plan.items_max} are allowed")
        return
    if plan.map_value_is_message is None:
        for index, item in enumerate(value):
            _check_value(plan, item, f"{path}[{index}]", report)
        return
    for key, item in value.items():
        _check_value(plan, key, f"{path}[key]", report)
        entry = f"{path}[{str(key)[:64]}]"
        if plan.map_value_is_message:
            _check_message(item, f"{entry}.", report)
        else:
            _check_value(plan, item, entry, report)


def _check_value(plan: FieldPlan, value: Any, path: str, report: Report) -> None:
    if plan.message and isinstance(value, Message):
        _check_message(value, f"{path}.", report)
    elif isinstance(value, str | bytes):
        if plan.bytes_max and _size(value, plan.bytes_max) > plan.bytes_max:
            report(path, f"is {_size(value, 0)} bytes: at most {plan.bytes_max} are allowed")
    elif isinstance(value, int):
        if plan.min is not None and value < plan.min:
            report(path, f"is {value}: the least is {plan.min}")
        if plan.max is not None and value > plan.max:
            report(path, f"is {value}: the most is {plan.max}")
        if plan.numbers is not None and value not in plan.numbers:
            report(path, f"is {value}, which the contract does not name: use a named value")


def _size(value: str | bytes, enough: int) -> int:
    # A string of n characters has at most 4 n bytes: most need not be encoded to be measured.
    if isinstance(value, bytes) or len(value) * 4 <= enough:
        return len(value)
    return len(value.encode("utf-8", "surrogatepass"))


@cache
def _plan(descriptor: Descriptor) -> Plan:
    fields: dict[int, FieldPlan] = {}
    required: list[tuple[str, bool]] = []
    for field in cast("list[FieldDescriptor]", descriptor.fields):
        bounds = field.GetOptions().Extensions[options_pb2.bounds]
        if bounds.required:
            required.append((field.name, field.has_presence and not field.is_repeated))
        plan = _field_plan(field, bounds)
        if plan is not None:
            fields[field.number] = plan
    return Plan(fields, tuple(required))


def _field_plan(field: FieldDescriptor, bounds: options_pb2.Bounds) -> FieldPlan | None:
    message = field.message_type
    is_map = message is not None and message.GetOptions().map_entry
    if message is None and bounds == options_pb2.Bounds():
        return None
    value = message.fields_by_name["value"] if message is not None and is_map else field
    enum = field.enum_type
    return FieldPlan(
        bytes_max=bounds.bytes_max,
        items_max=bounds.items_max,
        min=bounds.min if bounds.HasField("min") else None,
        max=bounds.max if bounds.HasField("max") else None,
        numbers=frozenset(enum.values_by_number) if bounds.defined_only and enum else None,
        repeated=field.is_repeated,
        map_value_is_message=value.message_type is not None if is_map else None,
        message=message is not None and not is_map,
    )
