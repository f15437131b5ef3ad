"""How many steps an evaluation may take at worst, as far as the tree tells."""

from harmost.core.policy.cel import ir

__all__ = ["ITEMS_ASSUMED", "cost_of"]

# Items of a list or map whose length the tree does not tell: more than facts have in practice.
ITEMS_ASSUMED = 100
# Enough to be refused; keeps nested products from growing without end.
_COST_MAX = 10**12


def cost_of(node: ir.Node) -> int:
    """Steps of `node` at worst: one for each node, `Each` times its items. Bounded by 10**12."""
    if isinstance(node, ir.Each):
        items = _items_of(node.over)
        body = cost_of(node.test) + (0 if node.value is None else cost_of(node.value))
        return min(1 + cost_of(node.over) + items * body, _COST_MAX)
    parts = ir.children(node)
    own = 1
    if isinstance(node, ir.MapOf) and not all(isinstance(part, ir.Const) for part in parts):
        own += len(node.keys) ** 2 // 2  # each key is compared with those before it
    return min(own + sum(cost_of(part) for part in parts), _COST_MAX)


def _items_of(node: ir.Node) -> int:
    match node:
        case ir.ListOf(items) | ir.MapOf(items, _):
            return len(items)
        case ir.Each(_, over, _, _):
            return _items_of(over)
        case ir.Arithmetic(_, args):
            return sum(_items_of(arg) for arg in args)
        case _:
            return ITEMS_ASSUMED
