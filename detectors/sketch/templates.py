"""Templates induced from an entity's own requests: a slot is whatever varied between them, in any language.

No list says what a slot looks like. A request that fits no template is kept as it stands; the next one that shares enough
of it, in order, leaves of it what both have, and so on: what remains is the wording that never changed, in runs, and a slot
lies between two runs. After Spell (Du, Li, ICDM 2016) and Drain (He et al., ICWS 2017), which find the constant part of log
lines so, and the ordered-token signatures of Polygraph (Newsome et al., IEEE S&P 2005).

Two unrelated texts have "the … of … a" in common and in order, so only runs of RUN tokens or more count as shared. Tokens
are hashes of 16 bits: two different runs look alike once in 2^48.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

CAPACITY = 4
MOST_TOKENS = 40
FIRST_TOKENS = 26
"""Of a request that fits no template: tokens kept of its beginning; the rest of MOST_TOKENS are its last ones."""

RUN = 3
LEAST_TOKENS = 6
"""A template of fewer is an idiom."""

KEPT_SHARE = 0.5
"""Part of an induced template that an exchange must have to be one of its: it loses the rest. Spell's bound."""

_WORD = 2  # bytes of a token
_TOTAL = struct.Struct("<d")
_HEAD = struct.Struct("<dBB")  # weight, induced, number of runs

Runs = tuple[bytes, ...]


class Template:
    """One of them; not induced while a single request stands behind it.

    Attributes:
        runs: token hashes of each run, 16 bits each.
        weight: decayed count of its exchanges.
        induced: whether a second request has been compared.
    """

    __slots__ = ("induced", "runs", "weight")

    def __init__(self, runs: Runs, weight: float, induced: bool) -> None:
        self.runs, self.weight, self.induced = runs, weight, induced

    @property
    def tokens(self) -> int:
        """Constant tokens."""
        return sum(map(len, self.runs)) // _WORD


class Templates:
    """The heaviest few. Deterministic; ties are broken by order of arrival."""

    __slots__ = ("held", "total")

    def __init__(self) -> None:
        self.held: list[Template] = []
        self.total = 0.0  # weight of all exchanges seen

    def see(self, outline: bytes, weight: float) -> None:
        """Count an exchange.

        Args:
            outline: hashes of its first and last tokens, 16 bits each; see `fingerprint.outline`.
            weight: with which it enters the sums.
        """
        if not outline:
            return
        self.total += weight
        found = self._whole(outline)
        if found is None:
            found = self._part(outline)
        if found is None:
            self._begin(outline, weight)
            return
        found.weight += weight

    def induced(self) -> Iterator[Template]:
        """Those with at least two requests behind them."""
        return (template for template in self.held if template.induced)

    def scale(self, factor: float) -> None:
        """Multiply every weight; exact when the factor is a power of two."""
        self.total *= factor
        if self.total <= 0.0:
            self.held.clear()
        for template in self.held:
            template.weight *= factor

    def _whole(self, outline: bytes) -> Template | None:
        """The longest template all of whose runs the exchange has: the usual case, and the cheap one."""
        best, most = None, 0
        for template in self.held:
            if template.induced and (size := template.tokens) > most and _holds(outline, template.runs):
                best, most = template, size
        return best

    def _part(self, outline: bytes) -> Template | None:
        """The template of which the exchange has most, reduced to what it has."""
        best, most = None, 0
        left: Runs = ()
        for template in self.held:
            runs = _shared(template.runs, outline)
            size = sum(map(len, runs)) // _WORD
            least = max(LEAST_TOKENS, KEPT_SHARE * template.tokens) if template.induced else LEAST_TOKENS
            if size >= least and size > most:
                best, left, most = template, runs, size
        if best is not None:
            best.runs, best.induced = left, True
        return best

    def _begin(self, outline: bytes, weight: float) -> None:
        if len(outline) < LEAST_TOKENS * _WORD:
            return
        if len(outline) <= MOST_TOKENS * _WORD:
            runs: Runs = (outline,)
        else:
            runs = (outline[: FIRST_TOKENS * _WORD], outline[(FIRST_TOKENS - MOST_TOKENS) * _WORD :])
        if len(self.held) >= CAPACITY:
            self.held.remove(min(self.held, key=lambda template: template.weight))
        self.held.append(Template(runs, weight, False))

    def merged(self, other: Templates) -> Templates:
        """Both entities' templates: one that has most of a heavier one joins it; the heaviest are kept."""
        out = Templates()
        out.total = self.total + other.total
        # Sorted, so that the result does not depend on which of the two was asked.
        rows = sorted((*self.held, *other.held), key=lambda t: (-t.weight, t.runs, t.induced))
        for row in rows:
            outline = b"".join(row.runs)
            found = out._whole(outline) or out._part(outline)
            if found is not None:
                found.weight += row.weight
            elif len(out.held) < CAPACITY:
                out.held.append(Template(row.runs, row.weight, row.induced))
        return out

    def to_bytes(self) -> bytes:
        """Total, then each template: weight, whether induced, runs with their lengths."""
        parts = [_TOTAL.pack(self.total)]
        for template in self.held:
            parts.append(_HEAD.pack(template.weight, template.induced, len(template.runs)))
            parts += [bytes((len(run) // _WORD,)) + run for run in template.runs]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Templates:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no such sketch.
        """
        out = cls()
        if len(data) < _TOTAL.size:
            raise ValueError("templates have the wrong length")
        out.total = _TOTAL.unpack_from(data)[0]
        at = _TOTAL.size
        while at < len(data):
            if at + _HEAD.size > len(data):
                raise ValueError("templates have the wrong length")
            weight, induced, count = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            runs: list[bytes] = []
            for _ in range(count):
                size = _WORD * data[at] if at < len(data) else 0
                runs.append(data[at + 1 : at + 1 + size])
                at += 1 + size
                if size < _WORD * RUN or at > len(data):
                    raise ValueError("a run of a template has the wrong length")
            template = Template(tuple(runs), weight, bool(induced))
            if induced > 1 or not LEAST_TOKENS <= template.tokens <= MOST_TOKENS or len(out.held) == CAPACITY:
                raise ValueError("templates are too many or of the wrong size")
            out.held.append(template)
        return out


def _find(outline: bytes, run: bytes, start: int) -> int:
    """Where a run begins, at a token; −1 when it is not there."""
    at = outline.find(run, start)
    while at % _WORD == 1 and at >= 0:
        at = outline.find(run, at + 1)
    return at


def _holds(outline: bytes, runs: Runs) -> bool:
    start = 0
    for run in runs:
        at = _find(outline, run, start)
        if at < 0:
            return False
        start = at + len(run)
    return True


def _shared(runs: Runs, outline: bytes) -> Runs:
    """What the exchange has of a template's runs, in order: runs again, each of RUN tokens or more."""
    left: list[bytes] = []
    start, step, least = 0, _WORD, RUN * _WORD
    for run in runs:
        at = 0
        while at + least <= len(run):
            place = _find(outline, run[at : at + least], start)
            if place < 0:
                at += step
                continue
            size = least
            while at + size < len(run) and run[at + size : at + size + step] == outline[place + size : place + size + step]:
                size += step
            left.append(run[at : at + size])
            at += size
            start = place + size
    return tuple(left)
