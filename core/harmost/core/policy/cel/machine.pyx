"""Runs the steps of one expression: a recursion in C over values, without Python but for RE2.

Errors are values. `&&`, `||`, `all` and `exists` lose an error where another operand decides; everything
else passes on the first. A run that visits too much or makes too much is an error as a whole.

Source: cel-spec, langdef.md, "Evaluation", "Logical Operators", "Macros".
"""

from harmost.core.limits import CEL_ITEMS_MAX, CEL_VISITS_MAX
from harmost.core.policy.cel.operate cimport arithmetic, asked, compare, converted, negative
from harmost.core.policy.cel.scratch cimport reset, take_values
from harmost.core.policy.cel.value cimport (
    BOOL,
    ERROR,
    KEY_TWICE,
    KEY_TYPE,
    INT,
    LIST,
    MAP,
    NO_OVERLOAD,
    STRING,
    TOO_LARGE,
    TOO_LONG,
    contains,
    failure,
    find,
    lookup,
    of_bool,
    of_items,
)

cdef int64_t ITEMS_MAX = CEL_ITEMS_MAX
cdef int64_t VISITS_MAX = CEL_VISITS_MAX


cdef Value run_code(
    const Code* code,
    int root,
    const Value* request,
    const Value* candidate,
    int split,
    Scratch* scratch,
) noexcept nogil:
    """What the step `root` gives. Values in it are good until the next run with `scratch`."""
    cdef Run run
    cdef Value value
    reset(scratch)
    run.code, run.request, run.candidate, run.split = code, request, candidate, split
    run.scratch, run.exhausted, run.depth = scratch, 0, 0
    run.items_left, run.steps_left = ITEMS_MAX, VISITS_MAX
    value = _run(&run, root)
    return failure(run.exhausted) if run.exhausted else value


cdef Value _run(Run* run, int at) noexcept nogil:
    cdef const Step* step = &run.code.steps[at]
    cdef const int* operands = &run.code.operands[step.first]
    if step.op == FACT:
        if step.detail < run.split:
            return run.request[step.detail]
        return run.candidate[step.detail - run.split]
    if step.op == CONSTANT:
        return step.constant
    if step.op == LOCAL:
        return run.locals[run.depth - 1 - step.detail]
    if step.op == AND or step.op == OR:
        return _connected(run, step, operands)
    if step.op == CHOOSE:
        return _chosen(run, operands)
    if step.op == LIST_OF or step.op == MAP_OF:
        return _literal(run, step, operands)
    if step.op >= ALL:
        return _each(run, step, operands)
    if step.count == 2:
        return _of_two(run, step, operands)
    return _of_one(run, step, operands)


cdef Value _connected(Run* run, const Step* step, const int* operands) noexcept nogil:
    """`&&` and `||`: the first operand that decides, else the first error, else the other answer."""
    cdef bint decisive = step.op == OR
    cdef Value value, error
    cdef int index
    error.kind = BOOL
    for index in range(step.count):
        value = _run(run, operands[index])
        if value.kind == BOOL:
            if value.of.number == decisive:
                return value
        elif error.kind != ERROR:
            error = value if value.kind == ERROR else failure(NO_OVERLOAD)
    return error if error.kind == ERROR else of_bool(not decisive)


cdef Value _chosen(Run* run, const int* operands) noexcept nogil:
    cdef Value condition = _run(run, operands[0])
    if condition.kind != BOOL:
        return condition if condition.kind == ERROR else failure(NO_OVERLOAD)
    return _run(run, operands[1 if condition.of.number else 2])


cdef Value _of_one(Run* run, const Step* step, const int* operands) noexcept nogil:
    cdef Value value = _run(run, operands[0])
    if value.kind == ERROR:
        return value
    if step.op == NOT:
        return of_bool(not value.of.number) if value.kind == BOOL else failure(NO_OVERLOAD)
    if step.op == HAS:
        if value.kind != MAP:
            return failure(NO_OVERLOAD)
        return of_bool(find(&value, &step.constant) != NULL)
    if step.op == NEGATE:
        return negative(&value)
    if step.op == CONVERT:
        return _kept(run, converted(step.detail, &value, run.scratch))
    if value.kind != STRING:
        return failure(NO_OVERLOAD)
    return _matched(run.code.patterns[step.detail], value.of.text, value.size)


cdef Value _of_two(Run* run, const Step* step, const int* operands) noexcept nogil:
    cdef Value left = _run(run, operands[0])
    cdef Value right
    if left.kind == ERROR:
        return left
    right = _run(run, operands[1])
    if right.kind == ERROR:
        return right
    if step.op == COMPARE:
        return compare(step.detail, &left, &right)
    if step.op == IN:
        return contains(&right, &left)
    if step.op == INDEX:
        return lookup(&left, &right)
    if step.op == ASK:
        return asked(step.detail, &left, &right)
    return _kept(run, arithmetic(step.detail, &left, &right, run.scratch))


cdef Value _kept(Run* run, Value value) noexcept nogil:
    """`value`; where there was no memory for it, the run is over."""
    if value.kind == ERROR and value.nanos == TOO_LARGE:
        run.exhausted = TOO_LARGE
    return value


cdef Value _literal(Run* run, const Step* step, const int* operands) noexcept nogil:
    """A list, or a map of keys and values in turn."""
    cdef Value* items = take_values(run.scratch, step.count)
    cdef Value map
    cdef int index
    if items == NULL:
        return _kept(run, failure(TOO_LARGE))
    for index in range(step.count):
        items[index] = _run(run, operands[index])
        if items[index].kind == ERROR:
            return items[index]
    if step.op == LIST_OF:
        return of_items(LIST, items, step.count)
    map = of_items(MAP, items, 0)
    for index in range(step.count // 2):
        if items[2 * index].kind not in (STRING, INT, BOOL):
            return failure(KEY_TYPE)
        if find(&map, &items[2 * index]) != NULL:
            return failure(KEY_TWICE)
        map.size += 1
    return map


cdef Value _each(Run* run, const Step* step, const int* operands) noexcept nogil:
    """A macro over the items of a list or the keys of a map."""
    cdef Value over = _run(run, operands[0])
    cdef int stride = 2 if over.kind == MAP else 1
    if over.kind != LIST and over.kind != MAP:
        return over if over.kind == ERROR else failure(NO_OVERLOAD)
    if step.op == ALL or step.op == EXISTS:
        return _any_decides(run, step, operands, &over, stride)
    if step.op == EXISTS_ONE:
        return _one(run, step, operands, &over, stride)
    return _gathered(run, step, operands, &over, stride)


cdef bint _exhausts(Run* run, const Step* step) noexcept nogil:
    """Count one item. Once too many were visited, all macros end at once."""
    run.items_left -= 1
    run.steps_left -= step.size
    if run.items_left < 0 or run.steps_left < 0:
        run.exhausted = TOO_LONG
    return run.exhausted != 0


cdef Value _with_item(Run* run, int at, const Value* item) noexcept nogil:
    """What the step `at` gives with `item` as the innermost local."""
    cdef Value value
    # INVARIANT: programs bind at most LOCALS_MAX locals at once; ir.check holds it.
    run.locals[run.depth] = item[0]
    run.depth += 1
    value = _run(run, at)
    run.depth -= 1
    return value


cdef Value _any_decides(
    Run* run, const Step* step, const int* operands, const Value* over, int stride
) noexcept nogil:
    cdef bint decisive = step.op == EXISTS
    cdef Value value, error
    cdef int64_t index
    error.kind = BOOL
    for index in range(over.size):
        if _exhausts(run, step):
            return failure(TOO_LONG)
        value = _with_item(run, operands[1], &over.of.items[stride * index])
        if value.kind == BOOL:
            if value.of.number == decisive:
                return value
        elif error.kind != ERROR:
            error = value if value.kind == ERROR else failure(NO_OVERLOAD)
    return error if error.kind == ERROR else of_bool(not decisive)


cdef Value _one(
    Run* run, const Step* step, const int* operands, const Value* over, int stride
) noexcept nogil:
    cdef Value value
    cdef int64_t index, count = 0
    for index in range(over.size):
        if _exhausts(run, step):
            return failure(TOO_LONG)
        value = _with_item(run, operands[1], &over.of.items[stride * index])
        if value.kind != BOOL:
            return value if value.kind == ERROR else failure(NO_OVERLOAD)
        count += value.of.number
    return of_bool(count == 1)


cdef Value _gathered(
    Run* run, const Step* step, const int* operands, const Value* over, int stride
) noexcept nogil:
    """`filter` and `map`."""
    cdef Value* items = take_values(run.scratch, over.size)
    cdef Value value
    cdef const Value* item
    cdef int64_t index, count = 0
    if items == NULL:
        return _kept(run, failure(TOO_LARGE))
    for index in range(over.size):
        if _exhausts(run, step):
            return failure(TOO_LONG)
        item = &over.of.items[stride * index]
        value = _with_item(run, operands[1], item)
        if value.kind != BOOL:
            return value if value.kind == ERROR else failure(NO_OVERLOAD)
        if not value.of.number:
            continue
        items[count] = item[0] if step.op == FILTER else _with_item(run, operands[2], item)
        if items[count].kind == ERROR:
            return items[count]
        count += 1
    return of_items(LIST, items, count)


# The one call into Python: RE2 has no face in C here.
cdef Value _matched(void* pattern, const char* text, int64_t size) noexcept with gil:
    try:
        return of_bool((<object>pattern).search(text[:size]) is not None)
    except Exception:
        return failure(TOO_LARGE)
