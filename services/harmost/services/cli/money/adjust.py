"""`harmost budget adjust`: correct a balance by a row that says who and why."""

import re
from typing import Annotated, Any

import typer

from harmost.core.errors import InvalidInput
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

__all__ = ["adjust"]

UNITS = {"usd": "UNIT_USD_NANOS", "tokens": "UNIT_TOKENS", "requests": "UNIT_REQUESTS"}
WINDOWS = ("minute", "hour", "day", "week", "month", "total")
DELTA_MAX = (
    10**18
)  # of one correction, in nanodollars or what is counted; the bound of the contract
AMOUNT = re.compile(r"([+-]?)([0-9]{1,20})(?:\.([0-9]{1,9}))?")


def adjust(
    budget: Annotated[str, typer.Argument(help="Name of the `Budget` document.")],
    amount: Annotated[
        str,
        typer.Argument(
            help="Added to what is settled in the current window: US dollars such as 2.50, or whole "
            "tokens or requests. Negative gives back."
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why. Kept for ever.")],
    unit: Annotated[
        str, typer.Option(help=f"Which limit, where the budget has several: {', '.join(UNITS)}.")
    ] = "usd",
    window: Annotated[str, typer.Option(help=f"Likewise: {', '.join(WINDOWS)}.")] = "",
    idempotency_key: Annotated[
        str, typer.Option(help="Unique for each correction. Default: a new one.")
    ] = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Correct what a budget has settled. Needs the role finance; the row names you and the reason."""
    import uuid

    from harmost.budget.v1 import budget_pb2 as pb
    from harmost.services.cli.money.draw import amount as written
    from harmost.services.cli.output import emit
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    if unit not in UNITS:
        raise typer.BadParameter(
            f"`{unit}` is no unit: use {', '.join(UNITS)}", param_hint="--unit"
        )
    if window and window not in WINDOWS:
        raise typer.BadParameter(
            f"`{window}` is no window: use {', '.join(WINDOWS)}", param_hint="--window"
        )
    request = pb.AdjustRequest(
        budget=budget,
        delta=delta_of(amount, money=unit == "usd"),
        reason=reason,
        idempotency_key=idempotency_key or uuid.uuid4().hex,
        unit=pb.Unit.Value(UNITS[unit]),
        window=pb.Window.Value(f"WINDOW_{(window or 'unspecified').upper()}"),
    )
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("budget") as session:
        answer: Any = session.call("Adjust", request)
    if as_json:
        emit(plain(answer) | {"idempotency_key": request.idempotency_key})
        return
    now = answer.budget
    print(
        f"row {answer.sequence}: {written(now.unit, request.delta)} on `{budget}`; settled are now "
        f"{written(now.unit, now.settled)} of {written(now.unit, now.limit)}"
    )


def delta_of(text: str, *, money: bool) -> int:
    """The whole number that `text` means: nanodollars, or what is counted; never a float."""
    match = AMOUNT.fullmatch(text.strip())
    if match is None or (match[3] and not money):
        how = "US dollars such as 2.50 or -0.75" if money else "a whole number such as 500 or -20"
        raise InvalidInput(f"`{text[:60]}` is no amount: write {how}")
    whole = int(match[2]) * 10**9 + int((match[3] or "").ljust(9, "0")) if money else int(match[2])
    if whole > DELTA_MAX:
        raise InvalidInput(f"`{text[:60]}` is more than {DELTA_MAX} at once: correct in parts")
    return -whole if match[1] == "-" else whole
