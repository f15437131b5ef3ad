"""Lanes -> rules that match -> decision, in C until the answer is made; see decide.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.list cimport PyList_GET_ITEM
from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from harmost.core.policy.index.index cimport Index
from harmost.core.policy.index.residual cimport Residuals

from msgspec.structs import replace

from harmost.core.limits import POLICY_VALUES_MAX
from harmost.core.policy.decision import Decision, Exclusion

cdef Py_ssize_t ANSWERS_MAX = POLICY_VALUES_MAX
cdef uint64_t ALL_BITS = <uint64_t>-1

cdef extern from *:
    int __builtin_ctzll(unsigned long long bits) noexcept nogil
    void __builtin_prefetch(const void* address) noexcept nogil


cdef int gather(
    const int32_t* rule_of,
    const uint8_t* flags,
    const int32_t* lanes,
    int lanes_count,
    const uint64_t* masks,
    const uint64_t* extra,
    const Rule* rules,
    Hit* hits,
) noexcept nogil:
    """The rules of the surviving `lanes`, which are in order, where any candidate is left."""
    cdef int i, lane, found = 0
    cdef uint64_t mask
    cdef Hit* hit = NULL
    for i in range(lanes_count):
        # What is needed soon is seldom still in the cache.
        if i + AHEAD < lanes_count:
            __builtin_prefetch(&masks[lanes[i + AHEAD]])
            __builtin_prefetch(&rule_of[lanes[i + AHEAD]])
        lane = lanes[i]
        mask = masks[lane]
        if extra != NULL:
            mask &= extra[i]
        if mask == 0:
            continue
        if hit == NULL or hit.rule != rule_of[lane]:
            hit = &hits[found]
            found += 1
            hit.rule = rule_of[lane]
            __builtin_prefetch(&rules[hit.rule])
            hit.mask = hit.unmet = hit.sure = hit.unmet_sure = 0
        if flags[lane] & UNMET:
            hit.unmet |= mask
            if not flags[lane] & DOUBT:
                hit.unmet_sure |= mask
        else:
            hit.mask |= mask
            if not flags[lane] & DOUBT:
                hit.sure |= mask
    return found


cdef int merge(
    const Hit* left, int left_count, const Hit* right, int right_count, Hit* merged
) noexcept nogil:
    """Both runs in order of rules, a rule that both have once."""
    cdef int i = 0, j = 0, found = 0
    while i < left_count or j < right_count:
        if j == right_count or (i < left_count and left[i].rule < right[j].rule):
            merged[found] = left[i]
            i += 1
        elif i == left_count or right[j].rule < left[i].rule:
            merged[found] = right[j]
            j += 1
        else:
            merged[found] = left[i]
            merged[found].mask |= right[j].mask
            merged[found].unmet |= right[j].unmet
            merged[found].sure |= right[j].sure
            merged[found].unmet_sure |= right[j].unmet_sure
            i += 1
            j += 1
        found += 1
    return found


cdef int keep_active(
    const Rule* rules, const uint8_t* outside, int64_t now_s, Hit* hits, int count
) noexcept nogil:
    """Drop what has expired or matches nowhere; note what is enforced and what is named."""
    cdef int i, kept = 0
    cdef const Rule* rule
    for i in range(count):
        rule = &rules[hits[i].rule]
        if hits[i].mask == 0 or 0 < rule.expires_s <= now_s:
            continue
        __builtin_prefetch(rule.named)
        hits[kept] = hits[i]
        hits[kept].enforced = rule.enforced and not (
            rule.rollout >= 0 and outside[rule.rollout]
        )
        hits[kept].named = hits[kept].enforced or not rule.requires or hits[i].unmet != 0
        kept += 1
    return kept


cdef inline int take(Verdict* verdict, uint64_t taken, int place) noexcept nogil:
    cdef uint64_t bits = taken
    cdef int at
    verdict.remaining &= ~taken
    while bits:
        at = __builtin_ctzll(bits)
        bits &= bits - 1
        verdict.taken_by[at] = place
    if verdict.remaining == 0:
        verdict.denied_by = place
    return 0


cdef void judge(
    const Rule* rules, const Hit* hits, int count, uint64_t everything, Verdict* verdict
) noexcept nogil:
    """What the hits, which are in order, add up to; the twin is combine.py."""
    # By level of the tenant: what allow rules of higher priority except from, and those seen so far.
    cdef uint64_t excepted[LEVELS]
    cdef uint64_t seen[LEVELS]
    cdef uint64_t taken, free_of_deny
    cdef int64_t priority = 0
    cdef int i, level
    cdef const Rule* rule
    verdict.remaining = everything
    verdict.denied_by = -1
    verdict.named = 0
    for i in range(BITS):
        verdict.taken_by[i] = -1
    for level in range(LEVELS):
        excepted[level] = seen[level] = 0
    for i in range(count):
        verdict.named += hits[i].named
        if not hits[i].enforced:
            continue
        rule = &rules[hits[i].rule]
        if rule.priority != priority or i == 0:
            priority = rule.priority
            for level in range(LEVELS):
                excepted[level] = seen[level]
        if rule.allows:
            seen[rule.level] |= hits[i].mask
            continue
        if rule.denies:
            free_of_deny = 0
            for level in range(rule.level + 1):
                free_of_deny |= excepted[level]
            taken = hits[i].mask & ~free_of_deny & verdict.remaining
        else:
            taken = hits[i].unmet & verdict.remaining
        if taken:
            take(verdict, taken, i)
    count_effects(rules, hits, count, verdict)


cdef void count_effects(
    const Rule* rules, const Hit* hits, int count, Verdict* verdict
) noexcept nogil:
    """Caps and redactions of the rules that match any candidate that remains."""
    cdef int i
    cdef const Rule* rule
    verdict.redactions = 0
    verdict.output_tokens_max = verdict.usd_nanos_max = 0
    for i in range(count):
        if not hits[i].enforced or not hits[i].mask & verdict.remaining:
            continue
        rule = &rules[hits[i].rule]
        verdict.redactions |= rule.redactions
        if rule.output_tokens_max and not 0 < verdict.output_tokens_max <= rule.output_tokens_max:
            verdict.output_tokens_max = rule.output_tokens_max
        if rule.usd_nanos_max and not 0 < verdict.usd_nanos_max <= rule.usd_nanos_max:
            verdict.usd_nanos_max = rule.usd_nanos_max


cdef int fill(Rule* rule, dict numbers, object named) except -1:
    rule.named = <PyObject*>named
    rule.priority = numbers["priority"]
    rule.output_tokens_max = numbers["output_tokens_max"]
    rule.usd_nanos_max = numbers["usd_nanos_max"]
    rule.expires_s = numbers["expires_s"]
    rule.redactions = numbers["redactions"]
    rule.level = numbers["level"]
    rule.rollout = numbers["rollout"]
    rule.allows, rule.denies = numbers["allows"], numbers["denies"]
    rule.requires, rule.doubtful = numbers["requires"], numbers["doubtful"]
    rule.enforced = numbers["enforced"]
    return 0


cdef class Part:
    def __init__(self, int number, Index index, rule_of, flags, residuals):
        cdef int lane
        self.number = number
        self.index = index
        rules, bits = bytearray(4 * max(1, index.lanes)), bytearray(max(1, index.lanes))
        self.rule_of, self.flags = <int32_t*><char*>rules, <uint8_t*><char*>bits
        extra = bytearray(8 * max(1, index.lanes)) if any(residuals) else None
        self.extra = <uint64_t*><char*>extra if extra is not None else NULL
        self._memory = (rules, bits, extra)
        for lane in range(index.lanes):
            self.rule_of[lane], self.flags[lane] = rule_of[lane], flags[lane]
        self.residuals = residuals
        self.has_residuals = any(residuals)


cdef class View:
    def __init__(self, list parts, bytes outside not None):
        self.parts, self.outside = parts, outside


cdef class Candidates:
    def __init__(self, tuple given, list facts, masks_of):
        self.names = tuple([candidate.name for candidate in given])
        self.given, self._masks_of = given, masks_of
        self.count = len(given)
        if self.count > BITS:
            raise ValueError(f"there are {self.count} candidates, more than {BITS}: give fewer")
        self.everything = ALL_BITS >> (BITS - max(1, self.count))
        self.facts = facts
        self._masks, self._names, self.exclusions, self.answers = [], {}, {}, {}

    cdef const uint64_t* masks(self, Part part) except NULL:
        """Where each lane of `part` is not refuted by candidate facts, found when first asked."""
        while len(self._masks) <= part.number:
            self._masks.append(None)
        found = self._masks[part.number]
        if found is None:
            found = self._masks[part.number] = self._masks_of(self, part)
        return <const uint64_t*>PyBytes_AS_STRING(<bytes>found)

    cdef tuple left(self, uint64_t mask):
        """The names in `mask`."""
        if self.count == 0:
            return ()
        found = self._names.get(mask)
        if found is None:
            if len(self._names) >= ANSWERS_MAX:
                self._names.clear()
            found = tuple([name for i, name in enumerate(self.names) if mask >> i & 1])
            self._names[mask] = found
        return found


cdef class Decider:
    def __init__(self, rules, named, elsewhere, *, generation, redactions_of, residuals, errors_of):
        cdef int i
        cdef Py_ssize_t count = len(rules)
        self._memory = [bytearray(max(1, count) * sizeof(Rule) + LINE_BYTES)] + [
            bytearray(max(1, count) * sizeof(Hit)) for _ in range(3)
        ]
        cdef size_t begin = <size_t><char*>(<bytearray>self._memory[0])
        self._rules = <Rule*>((begin + LINE_BYTES - 1) // LINE_BYTES * LINE_BYTES)
        self._hits = <Hit*><char*>(<bytearray>self._memory[1])
        self._run = <Hit*><char*>(<bytearray>self._memory[2])
        self._merged = <Hit*><char*>(<bytearray>self._memory[3])
        for i, rule in enumerate(rules):
            fill(&self._rules[i], rule, named[i])
        self._named, self._elsewhere = named, elsewhere
        self._redactions, self._redactions_of = {}, redactions_of
        self._residuals, self._errors_of, self._generation = residuals, errors_of, generation

    def decide(self, View view, dict request, Candidates candidates, int64_t now_s):
        if self.match(view, request, candidates, now_s) < 0:
            return None
        return self.result(candidates, self.errors(request, candidates))

    def outcome(self, View view, dict request, Candidates candidates, int64_t now_s):
        if self.match(view, request, candidates, now_s) < 0:
            return None
        cdef int denied_by = self._verdict.denied_by
        return (
            self._hits[denied_by].rule if denied_by >= 0 else -1,
            self._verdict.remaining,
            self._verdict.redactions,
            self._verdict.output_tokens_max,
            self._verdict.usd_nanos_max,
        )

    cdef int match(self, View view, dict request, Candidates candidates, int64_t now_s) except -2:
        """Fill hits and verdict; -1 where a fact is not of its declared type."""
        cdef Part part
        cdef Hit* swapped
        cdef const uint8_t* outside = <const uint8_t*>PyBytes_AS_STRING(view.outside)
        cdef const uint64_t* extra
        cdef object asked = None
        cdef int lanes, found
        self._count = 0
        self._residuals.failed = False
        for part in view.parts:
            lanes = part.index.scan(request)
            if part.index.erred:
                return -1
            if lanes == 0:
                continue
            extra = NULL
            masks = candidates.masks(part)
            if part.has_residuals:
                if asked is None:
                    asked = self._residuals.of_call(request)
                self.ask(part, lanes, candidates)
                extra = part.extra
            found = gather(
                part.rule_of, part.flags, part.index.survivors, lanes, masks, extra,
                self._rules, self._run if self._count else self._hits,
            )
            if self._count == 0:
                self._count = found
            elif found:
                self._count = merge(self._hits, self._count, self._run, found, self._merged)
                swapped = self._hits
                self._hits, self._merged = self._merged, swapped
        self._count = keep_active(self._rules, outside, now_s, self._hits, self._count)
        judge(self._rules, self._hits, self._count, candidates.everything, &self._verdict)
        return 0

    cdef int ask(self, Part part, int survivors, Candidates candidates) except -1:
        """Put into `extra` what the conditions that no index knows leave of each survivor."""
        cdef int i, lane
        cdef uint64_t mask
        cdef const uint64_t* masks = candidates.masks(part)
        for i in range(survivors):
            lane = part.index.survivors[i]
            mask = candidates.everything
            if part.flags[lane] & RESIDUAL and masks[lane]:
                for which, negated, lower in part.residuals[lane]:
                    mask &= self._residuals.mask(which, negated, lower, candidates.facts)
                    if not mask:
                        break
            part.extra[i] = mask
        return 0

    cdef dict errors(self, dict request, Candidates candidates):
        """The hits in which an error has a say, by place, each with that error; None if none has."""
        cdef Hit* hit
        cdef bint doubted
        cdef int i
        cdef list places = None
        for i in range(self._count):
            hit = &self._hits[i]
            if self._residuals.failed:  # of a fact of another type than declared, say
                doubted = True
            elif self._rules[hit.rule].allows:
                doubted = self._rules[hit.rule].doubtful and hit.sure != candidates.everything
            else:
                doubted = (hit.mask & ~hit.sure) != 0 or (hit.unmet & ~hit.unmet_sure) != 0
            if doubted:
                places = [] if places is None else places
                places.append(i)
        if places is None:
            return None
        said = self._errors_of([self._hits[i].rule for i in places], request, candidates)
        return {
            i: replace(self.hit_of(i, None), error=error)
            for i, error in zip(places, said)
            if error
        } or None

    cdef object hit_of(self, int place, dict errors):
        cdef Hit* hit = &self._hits[place]
        if errors is not None and place in errors:
            return errors[place]
        if self._rules[hit.rule].enforced and not hit.enforced:
            return self._elsewhere[hit.rule]
        return <object>self._rules[hit.rule].named

    cdef object result(self, Candidates candidates, dict errors):
        cdef Verdict* verdict = &self._verdict
        cdef tuple hits = PyTuple_New(verdict.named)
        cdef int i, place = 0
        cdef object hit
        for i in range(self._count):
            if self._hits[i].named:
                hit = self.hit_of(i, errors)
                Py_INCREF(hit)
                PyTuple_SET_ITEM(hits, place, hit)
                place += 1
        if verdict.denied_by >= 0:
            return Decision(
                effect="deny",
                hits=hits,
                exclusions=self.exclusions(candidates, errors),
                denied_by=self.hit_of(verdict.denied_by, errors),
                snapshot_generation=self._generation,
            )
        return Decision(
            effect="allow",
            hits=hits,
            exclusions=self.exclusions(candidates, errors),
            candidates=candidates.left(verdict.remaining),
            output_tokens_max=verdict.output_tokens_max,
            usd_nanos_per_1k_tokens_max=verdict.usd_nanos_max,
            redactions=self.redactions(verdict.redactions),
            snapshot_generation=self._generation,
        )

    cdef tuple exclusions(self, Candidates candidates, dict errors):
        """Each candidate that was taken, and by what; the same tuple for the same answer."""
        cdef int32_t taken_by[BITS]
        cdef int i, place
        if self._verdict.remaining == candidates.everything or candidates.count == 0:
            return ()
        for i in range(candidates.count):
            place = self._verdict.taken_by[i]
            taken_by[i] = -1 if place < 0 else self._hits[place].rule
        key = PyBytes_FromStringAndSize(<char*>taken_by, candidates.count * sizeof(int32_t))
        found = candidates.exclusions.get(key) if errors is None else None
        if found is None:
            found = tuple([
                Exclusion(model=candidates.names[i], hit=self.hit_of(self._verdict.taken_by[i], errors))
                for i in range(candidates.count)
                if taken_by[i] >= 0
            ])
            if errors is None:
                if len(candidates.exclusions) >= ANSWERS_MAX:
                    candidates.exclusions.clear()
                candidates.exclusions[key] = found
        return found

    cdef tuple redactions(self, uint64_t bits):
        if bits == 0:
            return ()
        found = self._redactions.get(bits)
        if found is None:
            if len(self._redactions) >= ANSWERS_MAX:
                self._redactions.clear()
            found = self._redactions[bits] = self._redactions_of(bits)
        return found
