"""Every vendor through the running mesh to its fake: what works in every run, pairs in CI, all at night."""

import random
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from effort import effort
from provider_matrix import (
    VENDORS,
    Cell,
    Stand,
    cells,
    pairwise,
    stand,
    table,
)

DOCUMENT = Path(__file__).parents[2] / "docs/providers.md"
OFFERED = [cell for cell in cells() if not cell.unoffered]
TRIED = (
    [cell for cell in OFFERED if cell.fault == "ok" and cell.call == "unary"],
    pairwise(OFFERED, random.Random(7)),
    OFFERED,
)[effort(0, ci=1, nightly=2)]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with stand(tmp_path_factory.mktemp("matrix") / "data") as running:
        yield running


@pytest.mark.parametrize("cell", TRIED, ids="-".join)
def test_a_cell(there: Stand, cell: Cell) -> None:
    there.try_(cell, random.Random("-".join(cell)))


@pytest.mark.parametrize(("one", "other"), [*combinations(range(4), 2)])
def test_pairs_meet_all_that_can_meet(one: int, other: int) -> None:
    some = pairwise(OFFERED, random.Random(7))
    assert len(some) < len(OFFERED)
    assert {(cell[one], cell[other]) for cell in some} == {(c[one], c[other]) for c in OFFERED}


def test_the_documents_show_this_matrix() -> None:
    assert table() in DOCUMENT.read_text(), "run scripts/provider-matrix"


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_is_not_offered_is_cited(vendor: str) -> None:
    for why in VENDORS[vendor].UNOFFERED.values():
        assert re.fullmatch(r"[^,:]+[,:] .{20,}", why), f"`{why}` names no document and place in it"
