"""Labels beside a replay: keys whose use people have found benign or abusive, as `stillwatch labels export` writes them.

What is used, and nothing else: of each key the label that was given last, if its weight is at least MIN_WEIGHT. A key that
is abusive gives no row to the history that a model is fitted on. A key that is benign gives its rows as ever, and its
organisation is not taken for contamination though a certain rule recognises it. In the judged part a benign key that is
flagged is a false positive, and is told as one by stratum. Windows are for people: a key is not cut in time.

A line may name a `group`: the campaign of an abusive key, the kind of customer of a benign one. Figures are told by it, and
the keys of one campaign count as one in training and in intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from app.errors import BadInput
from app.offline.records import KeyName, rule_of
from app.offline.source import MAX_LINE_BYTES, LogFile

MIN_WEIGHT = 0.5
"""A label that its giver is less sure of than this changes nothing."""

Finding = Literal["benign", "abusive"]


class _Line(msgspec.Struct, frozen=True):
    key_id: KeyName
    label: Finding
    at: datetime
    weight: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    group: Annotated[str, msgspec.Meta(max_length=64)] | None = None


_decoder = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class KeyLabels:
    """Keys by what was found last about them; no key is in both.

    Attributes:
        groups: key → what its label counts it under, where it names something.
    """

    benign: frozenset[str] = field(default_factory=frozenset)
    abusive: frozenset[str] = field(default_factory=frozenset)
    groups: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.benign) + len(self.abusive)

    def of(self, key_id: str) -> Finding | None:
        """What was found about a key."""
        return "benign" if key_id in self.benign else "abusive" if key_id in self.abusive else None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled key of the judged part of a log, and what the replay made of it.

    Attributes:
        stratum: its most specific peer group at the end: plan / age / workload.
        judged: there was enough evidence for a verdict.
    """

    key_id: str
    finding: Finding
    stratum: str
    judged: bool
    flagged: bool


def load(path: Path) -> KeyLabels:
    """Labels of a file of JSON lines; fields that are not used are skipped.

    Raises:
        BadInput: the file cannot be read, or a line is no label; the message names the line and the rule.
    """
    newest: dict[str, _Line] = {}
    log = LogFile(path)
    for number, line in log.lines():
        try:
            if len(line) > MAX_LINE_BYTES:
                raise BadInput(f"is longer than {MAX_LINE_BYTES:,} bytes")
            found = _decoder.decode(line)
            if found.at.tzinfo is None:
                raise BadInput("at must have a time zone")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(f"--labels: {path.name} line {number}: {rule_of(error)}") from None
        except BadInput as error:
            raise BadInput(f"--labels: {path.name} line {number}: {error}") from None
        before = newest.get(found.key_id)
        if found.weight >= MIN_WEIGHT and (before is None or (found.at, found.label) > (before.at, before.label)):
            newest[found.key_id] = found
    if log.damage:
        raise BadInput(f"--labels: {log.damage}")
    groups = {line.key_id: line.group for line in newest.values() if line.group}
    return KeyLabels(_named(newest.values(), "benign"), _named(newest.values(), "abusive"), groups)


def _named(lines: Iterable[_Line], finding: Finding) -> frozenset[str]:
    return frozenset(line.key_id for line in lines if line.label == finding)


def by_stratum(labelled: Sequence[Labelled], finding: Finding) -> list[tuple[str, int, int]]:
    """(stratum, judged keys of that finding, those of them that were flagged), by stratum."""
    counts: dict[str, list[int]] = {}
    for one in labelled:
        if one.finding == finding and one.judged:
            count = counts.setdefault(one.stratum, [0, 0])
            count[0] += 1
            count[1] += one.flagged
    return [(name, judged, flagged) for name, (judged, flagged) in sorted(counts.items())]
