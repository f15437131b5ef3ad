"""A `Form` by which a struct of the domain is written as a message of the protos, field by field."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from harmost.core.messages.form import Field, Form

if TYPE_CHECKING:
    from harmost.core.messages.form import Kind

__all__ = ["form_of"]

How: TypeAlias = Mapping[Any, int] | Form | Callable[[Any], bytes]

_INTEGERS = frozenset({FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_INT32})
_KINDS: "Mapping[int, Kind]" = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_ENUM: "enum",
}


def form_of(
    message: type[Message],
    struct: type,
    *,
    names: Mapping[str, str] | None = None,
    how: Mapping[str, How] | None = None,
) -> Form:
    """How `struct` is written as `message`: each of its fields, from the attribute of the same name.

    `names`: attributes that are called otherwise. `how`: the numbers of an enum, the form of a message,
    or what writes it. TypeError for a field that `struct` has no attribute for: none is forgotten.
    """
    names, how = names or {}, how or {}
    fields: list[Field] = []
    for field in cast("list[FieldDescriptor]", message.DESCRIPTOR.fields):
        attribute = names.get(field.name, field.name)
        if not hasattr(struct, attribute.partition(".")[0]):
            raise TypeError(f"`{struct.__name__}` has no `{attribute}` for `{field.full_name}`")
        fields.append(_field(field, attribute, how.get(field.name)))
    return Form(fields)


def _field(field: FieldDescriptor, attribute: str, how: How | None) -> Field:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        kind = _kind(inner.fields_by_name["value"], how)
        return Field(field.number, attribute, kind, how=how, mapped=True)
    return Field(field.number, attribute, _kind(field, how), how=how, repeated=field.is_repeated)


def _kind(field: FieldDescriptor, how: How | None) -> "Kind":
    if field.type in _INTEGERS:
        return "int"
    if field.message_type is None:
        return _KINDS[field.type]
    if how is None:
        if field.message_type.full_name != "google.protobuf.Timestamp":
            raise TypeError(f"it is not said how `{field.full_name}` is written")
        return "time"
    return "message" if isinstance(how, Form) else "written"
