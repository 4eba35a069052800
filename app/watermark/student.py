"""A suspect student, from files of what it says or predicts to a finding about the model and about keys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput
from app.offline.progress import Meter
from app.telemetry.exposition import version
from app.watermark.chances import odds, power
from app.watermark.corpus import records, value_of
from app.watermark.roll import Roll
from app.watermark.served_log import ServedLog
from app.watermark.store import profile_fields
from app.watermark.tokens import Tokens, content
from detectors.watermark.keys import MasterSecret, codewords, group_codewords
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.served import Contexts
from detectors.watermark.student import (
    Asked,
    Generation,
    Heard,
    KeyVerdict,
    Reading,
    Verdict,
    closed,
    of_keys,
    of_model,
    reading,
)

Mode = Literal["closed", "reading"]

MOST_ASKED = 20_000
BEST = 20
"""Keys that are told, beside the named ones."""

_BATCH = 256


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """One test: n-grams, what they score, standard deviations above chance, and the exact p-value."""

    counted: int
    score: float
    z: float
    log10_p: float


class StudentKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key: what it knows of the model's answers to it, and whose they are; both corrected for the keys asked."""

    name: str
    kind: str
    named: bool
    log10_p: float
    log10_knows: float
    knows: Test
    fits: Test


class StudentFindings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one student.

    Attributes:
        version: of the program.
        at: when it was made, UTC.
        profile: every field.
        secret: fingerprint.
        source: name of the file.
        mode: closed: answers; reading: predictions.
        served: whether only contexts that were served count.
        windows: places with a whole context.
        copied: left out because the student may have copied.
        unserved: left out because their context was never served.
        repeated: left out because they came before.
        model: whether it learned from the model at all.
        asked: how many keys were asked.
        fwer: probability that any innocent is named, at most.
        keys: the named and the next best, by ascending p-value.
    """

    version: str
    at: str
    profile: dict[str, Any]
    secret: str
    source: str
    mode: Mode
    served: bool
    windows: int
    copied: int
    unserved: int
    repeated: int
    model: Test
    asked: int
    fwer: float
    keys: list[StudentKey]

    @property
    def named(self) -> list[StudentKey]:
        """Who is named."""
        return [key for key in self.keys if key.named]


def examine(
    said: Path,
    mode: Mode,
    profile: MarkProfile,
    secret: MasterSecret,
    roll: Roll,
    tokenizer: Path | None,
    served: ServedLog | None,
    fwer: float,
    meter: Meter,
) -> StudentFindings:
    """Ask a student about the model and about every key of a roll.

    Args:
        said: JSON Lines. Mode closed: `answer` and, where it is known, `prompt`; mode reading: `text` and `predicted`, the
            token that the student holds likeliest at each place. Texts, or lists of tokens; `predicted` is always a list.
        mode: which.
        profile: the marks looked for.
        secret: of its epoch.
        roll: the keys that are asked; every one more makes the evidence against each a little weaker.
        tokenizer: the tokenizer file, where texts need one.
        served: contexts that were served; None: all count.
        fwer: probability that any innocent is named, at most.
        meter: told how far it is.

    Raises:
        BadInput: a line is not so; too many keys.
    """
    prf = Prf(secret, profile)
    asked = _asked(profile, secret, roll)
    if len(asked) > MOST_ASKED:
        raise BadInput(f"tenants: at most {MOST_ASKED:,} keys are asked of a student")
    meter.stage("what the student says")
    tokens = Tokens(profile, tokenizer)
    everything = served.model() if served is not None else None
    if mode == "closed":
        heard = closed(prf, profile, _generations(said, tokens, meter), everything)
    else:
        heard = reading(prf, profile, _readings(said, tokens, meter), everything)
    if not heard.windows:
        raise BadInput(f"{said}: holds nothing that is long enough to test")
    verdicts = _verdicts(heard, asked, roll, served, fwer, meter)
    best = sorted(verdicts, key=lambda pair: (not pair[1].named, pair[1].log10_p, pair[1].log10_knows))
    named = sum(verdict.named for _, verdict in best)
    return StudentFindings(
        version=version(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        profile=profile_fields(profile),
        secret=secret.fingerprint(),
        source=said.name,
        mode=mode,
        served=served is not None,
        windows=heard.windows,
        copied=heard.copied,
        unserved=heard.unserved,
        repeated=heard.repeated,
        model=_test(of_model(heard.evidence)),
        asked=len(asked),
        fwer=fwer,
        keys=[_key(kind, verdict) for kind, verdict in best[: named + BEST]],
    )


def sentences(findings: StudentFindings) -> str:
    """What it means, for people."""
    ours = findings.model.log10_p <= math.log10(findings.fwer)
    learned = (
        "The student repeats what our model's answers are marked with; one that learned from none of them would seem to "
        f"with a probability of at most {odds(findings.model.log10_p)}."
        if ours
        else f"The mark that all our answers carry does not show in the student (p = {power(findings.model.log10_p)})."
    )
    named = findings.named
    if named:
        who = ", ".join(f"{key.name} (p = {power(key.log10_p)})" for key in named)
        whose = (
            f"It learned from answers to {who}; any innocent of {findings.asked:,} is named with a probability of at most "
        )
        whose += f"{odds(math.log10(findings.fwer))}."
    else:
        whose = f"No key of {findings.asked:,} is named."
    return (
        f"{learned} {whose} That is evidence about what the student was trained on, not about who did it: answers can be "
        "passed on. A student of paraphrased answers, or one that was trained further on other text, shows nothing."
    )


def _verdicts(
    heard: Heard, asked: Sequence[tuple[str, Asked]], roll: Roll, served: ServedLog | None, fwer: float, meter: Meter
) -> list[tuple[str, KeyVerdict]]:
    meter.stage("keys")
    correction = math.log10(len(asked))
    made = []
    for number, (kind, key) in enumerate(asked, 1):
        contexts = _contexts(kind, key.name, roll, served)
        (one,) = of_keys(heard.evidence, [key._replace(served=contexts)], fwer)
        log10_p = min(0.0, one.fits.log10_p + correction)
        made.append((
            kind,
            replace(
                one,
                log10_p=log10_p,
                log10_knows=min(0.0, one.knows.log10_p + correction),
                named=log10_p <= math.log10(fwer),
            ),
        ))  # fmt: skip
        meter.at(number / len(asked), number)
    return made


def _contexts(kind: str, name: str, roll: Roll, served: ServedLog | None) -> Contexts | None:
    if served is None:
        return None
    if kind != "group":
        return served.of(name)
    members = [tenant for tenant, group in roll.groups.items() if group == name]
    together = served.of(members[0])
    for tenant in members[1:]:
        together.merge(served.of(tenant))
    return together


def _asked(profile: MarkProfile, secret: MasterSecret, roll: Roll) -> list[tuple[str, Asked]]:
    length, symbols = profile.positions, profile.symbols
    words = codewords(secret, roll.tenants, length, symbols)
    first = np.arange(length // 2)
    made = [
        ("tenant", Asked(tenant, word, None, first if tenant in roll.groups else None))
        for tenant, word in zip(roll.tenants, words, strict=True)
    ]
    groups = roll.group_names
    for group, word in zip(groups, group_codewords(secret, groups, length, symbols), strict=True):
        made.append(("group", Asked(group, word, None, np.arange(length // 2, length))))
    return made


def _generations(said: Path, tokens: Tokens, meter: Meter) -> Iterator[Generation]:
    for places, prompts, answers in _columns(said, "prompt", "answer", meter):
        yield from map(Generation, tokens.of(prompts, places), tokens.of(answers, places))


def _readings(said: Path, tokens: Tokens, meter: Meter) -> Iterator[Reading]:
    for places, texts, predicted in _columns(said, "text", "predicted", meter):
        for place, text, guesses in zip(places, tokens.of(texts, places), predicted, strict=True):
            if isinstance(guesses, str):
                raise BadInput(f"{place}: predicted: must be a list of tokens")
            if len(text) != len(guesses):
                raise BadInput(
                    f"{place}: predicted: must hold a token for each of the text's {len(text):,}, not {len(guesses):,}"
                )
            yield Reading(text, guesses)


_Column = list[str | NDArray[np.uint32]]


def _columns(said: Path, first: str, second: str, meter: Meter) -> Iterator[tuple[list[str], _Column, _Column]]:
    """Some lines at a time: their places and two fields; a prompt may be missing."""
    rows = iter(records(said, meter.at))
    while batch := list(islice(rows, _BATCH)):
        columns: tuple[_Column, _Column] = ([], [])
        for place, fields in batch:
            for field, column in zip((first, second), columns, strict=True):
                if field in fields:
                    column.append(content(place, field, value_of(place, fields[field])))
                elif field == "prompt":
                    column.append("")
                else:
                    raise BadInput(f"{place}: has no field {field!r}")
        yield [place for place, _ in batch], *columns


def _key(kind: str, verdict: KeyVerdict) -> StudentKey:
    return StudentKey(
        name=verdict.name,
        kind=kind,
        named=verdict.named,
        log10_p=verdict.log10_p,
        log10_knows=verdict.log10_knows,
        knows=_test(verdict.knows),
        fits=_test(verdict.fits),
    )


def _test(verdict: Verdict) -> Test:
    return Test(counted=verdict.counted, score=verdict.score, z=verdict.z, log10_p=verdict.log10_p)
