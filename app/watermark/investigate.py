"""From the evidence of a corpus to findings: is it ours, through which keys, how much of it, and where.

All tests are those of `detectors.watermark`; here they are run one after the other, never-issued codewords beside the
issued ones, and put together to one value. Nobody is named but by `attribution`, whose bound holds over all codewords
together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput, ConfigError
from app.offline.progress import Meter, Silent
from app.telemetry.exposition import version
from app.watermark import findings as found
from app.watermark.findings import Findings
from app.watermark.roll import Roll
from app.watermark.store import Stored, profile_fields
from app.watermark.traces import Traces, trace
from detectors.watermark.attribution import Attribution, Fit, Roster, attribute
from detectors.watermark.conditional import ConditionalNull
from detectors.watermark.evidence import Evidence
from detectors.watermark.keys import MasterSecret, group_codewords, issued
from detectors.watermark.localise import spans
from detectors.watermark.prf import Prf
from detectors.watermark.shares import Shares
from detectors.watermark.single import log10_tails
from detectors.watermark.tails import log_binomial_tail

MODEL_DECOYS = 1000
KEY_DECOYS, FEWEST_KEY_DECOYS = 10_000, 1000
DECOY_PAIRS = 100_000_000
"""Of a document and a decoy, about: what they cost stays below that of the issued codewords of a large provider."""

POINTS = 400
"""Of a curve of p-values."""

ALPHA = 1e-3
"""Probability that any stretch of a document is shown by chance, at most."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a corpus.

    Attributes:
        fwer: probability that any innocent key is named, at most.
        decoys: never-issued codewords that are scored beside the issued ones; None: 10,000, fewer for a large corpus.
        model_decoys: channels that nobody is marked with.
        best: keys that are told though they are not named.
    """

    fwer: float = 1e-3
    decoys: int | None = None
    model_decoys: int = MODEL_DECOYS
    best: int = 20


def investigate(
    stored: Stored,
    secret: MasterSecret,
    roll: Roll,
    ask: Ask = Ask(),
    meter: Meter | None = None,
    looked: Mapping[int, NDArray[np.uint32]] | None = None,
    expected_excess: float | None = None,
) -> Findings:
    """Test a corpus: model-level, every codeword, decoys; then shares and documents of those that are named.

    Args:
        stored: the evidence, `app.watermark.store.load`.
        secret: of the profile's epoch: the one that the evidence was made with.
        roll: all tenants that codewords were issued to.
        ask: bounds and numbers.
        meter: told how far it is, in pairs of a document and a codeword.
        looked: tokens of the documents in which marked stretches are looked for, by number.
        expected_excess: per marked token, in nats, where the ledger knows it.

    Raises:
        ConfigError: the secret is another one.
        BadInput: a number is out of its bounds.
    """
    if secret.fingerprint() != stored.manifest.secret:
        raise ConfigError(
            f"epoch {stored.profile.epoch}: the secret has the fingerprint {secret.fingerprint()}, and this evidence was "
            f"made with {stored.manifest.secret}"
        )
    if not 0 < ask.fwer < 1:
        raise BadInput("fwer: must be between 0 and 1")
    few = min(KEY_DECOYS, max(FEWEST_KEY_DECOYS, DECOY_PAIRS // max(1, len(stored.evidence))))
    number = few if ask.decoys is None else ask.decoys
    if not (1 <= number <= 1_000_000 and 1 <= ask.model_decoys <= 100_000):
        raise BadInput("decoys: must be from 1 to 1,000,000")
    meter = meter or Silent()
    evidence = stored.evidence
    meter.stage("is it the model's")
    model = _model(evidence, ask.model_decoys)
    kinds = roll.rosters(secret, stored.profile)
    rosters = [roster for _, roster in kinds]
    judged = _attributed("all keys", evidence, rosters, ask, meter)
    decoys = _attributed("codewords never issued", evidence, [_never_issued(stored, number)], ask, meter)
    named = judged.named
    marks = [(rosters[fit.roster].words[_at(rosters[fit.roster], fit)], rosters[fit.roster].positions) for fit in named]
    traces = trace(stored, marks, meter)
    shares = Shares(evidence, expected_excess) if named else None
    keys = [
        _key(fit, kinds, roll, shares, rosters[fit.roster], traces.carry[number] if fit.named else None)
        for number, fit in enumerate(judged.fits)
    ]
    return Findings(
        version=version(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        profile=profile_fields(stored.profile),
        secret=secret.fingerprint(),
        corpus=stored.manifest.corpus,
        model=model,
        keys=keys,
        tested=judged.tested,
        groups=len(roll.group_names),
        fwer=ask.fwer,
        curve=_curve(np.concatenate(judged.log10_p)),
        decoys=_curve(decoys.log10_p[0]),
        cells=traces.cells,
        traced=_traced(stored, [fit.name for fit in named], traces),
        looked=sorted(looked or ()),
        stretches=stretches(stored, secret, roll, [(kinds[fit.roster][0], fit.name) for fit in named], looked or {}),
        notes=_notes(stored, model),
    )


def _model(evidence: Evidence, decoys: int) -> found.ModelTest:
    score, count = evidence.model()
    ngrams, total = int(count.sum()), float(score.sum())
    chance = evidence.profile.gamma if evidence.profile.scheme == "green" else 1.0
    sums, on = evidence.decoys(decoys)
    of_decoys = np.sort(log10_tails(evidence.profile, np.full(decoys, on), sums))
    return found.ModelTest(
        ngrams=ngrams,
        score=total,
        expected=ngrams * chance,
        log10_p=float(log10_tails(evidence.profile, np.array([ngrams]), np.array([total]))[0]),
        decoys=decoys,
        decoy_ngrams=on,
        decoy_log10_p=np.round(of_decoys, 4).tolist(),
    )


def _attributed(what: str, evidence: Evidence, rosters: Sequence[Roster], ask: Ask, meter: Meter) -> Attribution:
    pairs = max(1, len(evidence) * sum(len(roster.names) for roster in rosters))
    meter.stage(what)
    done = 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        meter.at(done / pairs, done)

    return attribute(evidence, rosters, ask.fwer, ask.best, told)


def _never_issued(stored: Stored, number: int) -> Roster:
    """Codewords by lot, the same for the same corpus, so that a report can be made again."""
    seed = hashlib.blake2b(f"never issued/{stored.manifest.corpus.sha256}".encode(), digest_size=16).digest()
    randomness = np.random.default_rng(int.from_bytes(seed, "little"))
    profile = stored.profile
    words = randomness.integers(0, profile.symbols, (number, profile.positions), np.uint8)
    return Roster([f"decoy {at}" for at in range(number)], words, np.arange(profile.positions))


def _at(roster: Roster, fit: Fit) -> int:
    return list(roster.names).index(fit.name)


def _key(
    fit: Fit, kinds: Sequence[tuple[str, Roster]], roll: Roll, shares: Shares | None, roster: Roster, carry: int | None
) -> found.Key:
    share = shares.of(roster.words[_at(roster, fit)], roster.positions) if shares is not None and fit.named else None
    kind = kinds[fit.roster][0]
    return found.Key(
        name=fit.name,
        kind="group" if kind == "group" else "tenant",
        group=roll.groups.get(fit.name, "") if kind == "tenant" else "",
        named=fit.named,
        log10_p=fit.log10_p,
        log10_pooled=fit.log10_pooled,
        log10_split=fit.log10_split,
        selected=len(fit.documents),
        documents=carry,
        share=_number(share.of_marked) if share else None,
        share_low=_number(share.low) if share else None,
        share_high=_number(share.high) if share else None,
    )


def _traced(stored: Stored, names: Sequence[str], traces: Traces) -> list[found.Traced]:
    starts = stored.evidence.starts
    return [
        found.Traced(
            number=number,
            place=stored.place(number),
            name=names[key],
            log10_p=value,
            ngrams=int(starts[number + 1] - starts[number]),
        )
        for number, key, value in traces.strongest
    ]


def stretches(
    stored: Stored,
    secret: MasterSecret,
    roll: Roll,
    named: Sequence[tuple[str, str]],
    looked: Mapping[int, NDArray[np.uint32]],
) -> list[found.Stretch]:
    """Marked stretches within documents.

    Args:
        stored: the evidence.
        secret: of the profile's epoch.
        roll: whose groups count.
        named: (kind, name) of each key that is looked for.
        looked: tokens of the documents, by number.
    """
    profile = stored.profile
    prf = Prf(secret, profile)
    words: list[tuple[str, NDArray[np.uint8]]] = []
    for kind, name in named:
        if kind == "group":
            words.append((name, group_codewords(secret, (name,), profile.positions, profile.symbols)[0]))
        else:
            group = roll.groups.get(name, "")
            words.append((name, issued(secret, name, profile.positions, profile.symbols, group)))
    # Of several keys in the same document, each has its part of the probability that anything is shown by chance.
    tried = 1 + len(words)
    made = []
    for number, tokens in sorted(looked.items()):
        # A long answer to one key carries a little of any other's mark, where the two have the same symbol: whose it is,
        # the test given the text says, and only then where.
        null = ConditionalNull(Evidence.of(prf, profile, [tokens]).pooled())
        fitting = [(name, word) for name, word in words if null.log_tail(null.scores(word[None, :]))[0] <= math.log(ALPHA)]
        for name, word in (("", None), *fitting):
            made += [
                found.Stretch(
                    document=number,
                    place=stored.place(number),
                    name=name,
                    start=span.start,
                    end=span.end,
                    ngrams=span.ngrams,
                    log10_p=min(0.0, span.log10_p + math.log10(tried)),
                )
                for span in spans(prf, profile, tokens, word, ALPHA / tried)
            ]
    return made


def _curve(log10_p: NDArray[np.float64]) -> found.Curve:
    """Every one of the smallest, then ever fewer."""
    ordered = np.sort(log10_p)
    ranks = np.unique(np.rint(np.geomspace(1, len(ordered), POINTS)).astype(np.int64))
    return found.Curve(total=len(ordered), ranks=ranks.tolist(), log10_p=np.round(ordered[ranks - 1], 4).tolist())


def _notes(stored: Stored, model: found.ModelTest) -> list[str]:
    corpus = stored.manifest.corpus
    notes = []
    if corpus.cut:
        notes.append(f"{corpus.cut:,} documents are longer than {corpus.limit_bytes:,} bytes; what is beyond was not read.")
    if corpus.empty:
        notes.append(f"{corpus.empty:,} documents hold no token.")
    if corpus.skipped_files:
        notes.append(f"{corpus.skipped_files:,} files of other kinds in the folder were not read.")
    if corpus.lost_share > 0.01:
        notes.append(
            f"About {corpus.lost_share:.0%} of the n-grams at the end of the corpus were left out because the filter of "
            "repeated ones was full; a scan with a larger filter counts them."
        )
    small = sum(value <= -2.0 for value in model.decoy_log10_p)
    if log_binomial_tail(model.decoys, 0.01, small) < math.log(1e-4):
        notes.append(
            f"{small:,} of {model.decoys:,} decoy channels have a p-value of 0.01 or less: on this text the model-level "
            "test finds marks where there are none, so nothing rests on it. The tests by key do not share that fault."
        )
    if not corpus.ngrams:
        notes.append("No document is long enough to hold a single n-gram: nothing could be tested.")
    return notes


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
