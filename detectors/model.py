"""Model: scorers, calibration and policy in one; fitted on a provider's own history, deterministic by seed.

A model's `id` is a digest of everything in it: two models with one id give the same verdicts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np

from detectors import calibrate, drift, model_files, reference
from detectors.calibrate import Conformal
from detectors.catalogue import INDEX
from detectors.contract import FeatureMatrix, Scorer
from detectors.drift import Fleet
from detectors.features import FeatureRow, stack
from detectors.model_files import BadModel
from detectors.policy import ALARM, CALIBRATED, CalibratedPolicy, Policy, demoted, without_history
from detectors.reference import Reference
from detectors.scorers import boosted, forest, isolation, leak, mixture, pooled, pools, tails
from detectors.scorers.boosted import Boosted
from detectors.scorers.forest import Forest
from detectors.scorers.pools import Pools
from detectors.scorers.registry import RULES
from detectors.scorers.surprise import surprises

__all__ = ["BadModel", "Model", "TooLittleHistory", "fit", "load", "rules_only", "save"]

LEAST_ORGS = 20
"""Voters below which there is no peer group: the rarest p-value would be above 0.04."""

FOLDS = 5
"""Parts of the history; the statistics of each are calibrated by what was fitted on the others (Vovk 2015)."""

HONEST_CERTAIN = 0.005
"""Share of the history's organisations that may fulfil a certain rule before it counts as a mistake about honest
customers and not as contamination, which is 0.1 to 1 % of requests and far less of organisations."""

HONEST_PATTERN = 0.05

ALARMED = 0.001
"""Share of a history's organisations that the leak accountant's alarm may have met: what it leads to, it leads to before
anybody is certain."""

CONTAMINATION = 0.003
"""Share of organisations in a history that may be harvesters nobody knows of."""

SURE = 0.999
"""Quantile of honest log-odds, where the trees were made, above which they are sure about an organisation of a history."""

FEW = 2
"""… and this many organisations in any case: in a small history one is a large share."""


class TooLittleHistory(BadModel):
    """The history is too small to fit a model on."""


@dataclass(frozen=True)
class Peers:
    """The fitted part of a model.

    Attributes:
        fleet: the history's own customers beside the reference, with which later ones are compared; None in a model that
            was saved before there was one: then nothing is ever frozen.
    """

    reference: Reference
    forest: Forest
    tails: Conformal
    isolation: Conformal
    boosted: Conformal
    leak: Conformal
    pools: Pools | None = None
    fleet: Fleet | None = None


@dataclass(frozen=True)
class Model:
    """What judges.

    Attributes:
        policy: what the scores mean.
        peers: what is normal; None when nobody is compared with customers of this provider.
        notes: how it was fitted, for people.
        trees: what was learned from labelled traffic: the shipped trees, or a provider's own.
    """

    policy: Policy
    peers: Peers | None
    notes: dict[str, object]
    trees: Boosted = field(default_factory=boosted.shipped)

    @cached_property
    def scorers(self) -> tuple[Scorer, ...]:
        """In the order of their scores in a verdict: what was learned, the peer scorers, then the rules."""
        known = None if self.peers is None else self.peers.reference
        rules = tuple(make(known) for make in RULES.values())
        if self.peers is None:
            return boosted.BoostedScorer(self.trees), *rules
        fitted = self.peers
        return (
            boosted.BoostedScorer(self.trees, fitted.boosted, known),
            leak.LeakScorer(fitted.leak, known),
            pooled.make(fitted.pools, known),
            mixture.make(fitted.pools, known),
            tails.make(fitted.reference, fitted.tails),
            isolation.make(fitted.reference, fitted.forest, fitted.isolation),
            *rules,
        )

    @cached_property
    def id(self) -> str:
        """Digest of scorers, calibration and policy, 16 hex digits."""
        arrays = model_files.arrays_of(self)
        whole = blake2b(msgspec.json.encode(model_files.identity(self)), digest_size=8)
        for name, array in sorted(arrays.items()):
            whole.update(f"{name} {array.dtype.str} {array.shape}".encode())
            whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()

    def percentile(self, feature_name: str, value: float, groups: tuple[str, ...]) -> float | None:
        """Share of the peer group with a lower value, 0–100; None without peers.

        Raises:
            KeyError: there is no such feature.
        """
        column = INDEX[feature_name]
        return None if self.peers is None else self.peers.reference.percentile(column, value, groups)

    def peer_group(self, groups: tuple[str, ...]) -> str | None:
        """The group that `percentile` compares with: the most specific known one; None without peers."""
        if self.peers is None:
            return None
        place = self.peers.reference.place(groups)
        return None if place < 0 else self.peers.reference.names[place]


def rules_only() -> Model:
    """The model that needs no history: what was learned elsewhere and the named rules, without percentiles."""
    return Model(without_history(), None, {})


def fit(
    rows: Sequence[FeatureRow],
    orgs: Sequence[str],
    seed: int,
    honest: Collection[str] = (),
    flagged: Collection[str] = (),
    trees: Boosted | None = None,
    newest: Collection[int] | None = None,
) -> Model:
    """Fit on the history of a provider's own traffic, which may hold a little of what is to be found.

    Args:
        rows: feature rows at the moments at which entities were scored; those with too little evidence are left out.
        orgs: the organisation (or, without one, the key) behind each row; it has one vote.
        seed: of every random choice; the same rows, orgs and seed give the same model.
        honest: organisations that people found to be honest: none of them is taken out as contamination.
        flagged: organisations that the model in use flags: rules are checked on them, but unless people found them honest
            they do not say what is usual. Else a detector learns from whom it suspects.
        trees: a provider's own; None: those that are shipped.
        newest: places of the rows that are the newest of their entity: what later fleets, which are looked at by their
            newest rows, are compared with; None: all.

    Raises:
        TooLittleHistory: fewer than 20 organisations have enough exchanges.
    """
    policy = Policy()
    used = [at for at, row in enumerate(rows) if row.evidence >= policy.least_evidence]
    voters = [orgs[at] for at in used]
    if len(set(voters)) < LEAST_ORGS:
        raise TooLittleHistory(
            f"the history has {len(set(voters))} organisations with enough exchanges ({policy.least_evidence} answered "
            f"ones each); a peer model needs {LEAST_ORGS}"
        )
    matrix = stack([rows[at] for at in used])
    learned = trees or boosted.shipped()
    policy, dirty, rates = _check_rules(policy, matrix, voters)
    dirty |= _contaminating(learned, matrix, voters)
    dirty = (dirty | set(flagged)) - set(honest)
    keep = [at for at, org in enumerate(voters) if org not in dirty]
    matrix, voters = stack([rows[used[at]] for at in keep]), [voters[at] for at in keep]
    last = [place for place, at in enumerate(keep) if newest is None or used[at] in newest]
    if len(set(voters)) < LEAST_ORGS:
        raise TooLittleHistory(
            f"the history has {len(set(voters))} organisations with enough exchanges that no certain rule recognises; "
            f"a peer model needs {LEAST_ORGS}"
        )
    notes: dict[str, object] = {
        "rows": len(voters),
        "organisations": len(set(voters)),
        "taken_out": len(dirty & {orgs[at] for at in used}),
        "seed": seed,
        "share_of_organisations_by_rule": rates,
    }
    policy = msgspec.structs.replace(policy, alarm=_alarm(matrix, voters))
    peers = _fit_peers(matrix, voters, seed, learned)
    fleet = drift.fleet(peers.reference, matrix.take(last), [voters[at] for at in last])
    return Model(policy, replace(peers, fleet=fleet), notes, learned)


def _contaminating(trees: Boosted, matrix: FeatureMatrix, voters: Sequence[str]) -> set[str]:
    """Organisations that the trees are sure about; none when there are more of them than contamination explains.

    Then it is the trees that do not fit this provider's customers, and those customers must say so in the calibration.
    """
    sure = float(np.quantile(trees.peers, SURE)) if len(trees.peers) else np.inf
    odds = trees.log_odds(matrix)
    found = {org for org, value in zip(voters, odds.tolist(), strict=True) if value > sure}
    return found if len(found) <= max(FEW, CONTAMINATION * len(set(voters))) else set()


def _check_rules(policy: Policy, matrix: FeatureMatrix, voters: Sequence[str]) -> tuple[Policy, set[str], dict[str, float]]:
    """Rules that honest customers fulfil are demoted; who fulfils one of the others for certain is contamination."""
    everyone = len(set(voters))
    rules = dict(policy.rules)
    dirty: set[str] = set()
    rates = {}
    for name, make in RULES.items():
        known = rules[name]
        values = [score.value for score in make(None).score(matrix)]
        fulfilled = {org for org, value in zip(voters, values, strict=True) if value >= 0.5}
        rates[name] = round(len(fulfilled) / everyone, 6)
        certain = known.confirmed is not None
        if len(fulfilled) > max(FEW, (HONEST_CERTAIN if certain else HONEST_PATTERN) * everyone):
            rules[name] = demoted(known, pattern_too=not certain)
        elif certain and known.confirmed is not None:
            bar = known.confirmed
            dirty |= {org for org, value in zip(voters, values, strict=True) if value >= bar}
    return msgspec.structs.replace(policy, rules=rules), dirty, rates


def _fit_peers(matrix: FeatureMatrix, voters: list[str], seed: int, trees: Boosted) -> Peers:
    """Final fit on everything; calibration by cross-fitting, whole organisations at a time. What was learned elsewhere is
    calibrated as it is."""
    names = np.array(sorted(set(voters)))
    np.random.default_rng(seed).shuffle(names)
    fold_of = {str(name): at % FOLDS for at, name in enumerate(names)}
    folds = np.array([fold_of[org] for org in voters])
    whole = reference.fit(matrix, voters)
    sums, depths = np.zeros(len(voters)), np.zeros(len(voters))
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        part = matrix.take(outside)
        known = reference.fit(part, [voters[at] for at in outside], like=whole)
        grown = forest.fit(isolation.excess(surprises(known, part)), seed)
        found = surprises(known, matrix.take(inside))
        sums[inside] = tails.statistic(found)
        depths[inside] = grown.isolations(isolation.excess(found))
    return Peers(
        whole,
        forest.fit(isolation.excess(surprises(whole, matrix)), seed),
        calibrate.fit(sums.tolist(), voters, matrix.groups),
        calibrate.fit(depths.tolist(), voters, matrix.groups),
        _calibrated(trees.log_odds(matrix), matrix, voters, CALIBRATED[boosted.NAME]),
        # Of every organisation: one whose valuable responses are few has none of the evidence.
        _calibrated(_leaked(matrix), matrix, voters, CALIBRATED[leak.NAME]),
        pools.fit(matrix, voters, seed),
    )


def _alarm(matrix: FeatureMatrix, voters: Sequence[str]) -> float:
    """Evidence of leaking above which at most ALARMED of the history's organisations ever were; never below ALARM."""
    highest: dict[str, float] = {}
    for org, value in zip(voters, _leaked(matrix).tolist(), strict=True):
        highest[org] = max(value, highest.get(org, 0.0))
    order = sorted(highest.values(), reverse=True)
    return max(ALARM, float(np.nextafter(order[int(ALARMED * len(order))], np.inf)))


def _leaked(matrix: FeatureMatrix) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    column = INDEX[leak.FEATURE]
    return np.where(matrix.present[:, column], matrix.values[:, column], 0.0)


def _calibrated(
    statistics: np.ndarray[tuple[int], np.dtype[np.float64]],
    matrix: FeatureMatrix,
    voters: list[str],
    policy: CalibratedPolicy,
) -> Conformal:
    """Peers at the moments at which the policy would look: a share of few exchanges is extreme by chance."""
    rows = np.flatnonzero(matrix.evidence >= policy.least_evidence).tolist() or list(range(len(matrix)))
    return calibrate.fit(statistics[rows].tolist(), [voters[row] for row in rows], [matrix.groups[row] for row in rows])


def save(model: Model, directory: Path) -> None:
    """Write a model into a folder, which is made; see `model_files`.

    Raises:
        OSError: the folder cannot be written.
    """
    model_files.write(model, directory)


def load(directory: Path) -> Model:
    """Read a model from a folder.

    Raises:
        BadModel: the folder holds no model that this release can use, or it is not what was saved.
    """
    manifest, arrays = model_files.read(directory)
    peers = None
    if model_files.has_peers(arrays):
        peers = Peers(*model_files.peers_from(arrays), fleet=model_files.fleet_from(arrays))
    model = Model(manifest.policy, peers, manifest.notes, model_files.trees_from(arrays) or boosted.shipped())
    ours = {scorer.name: scorer.version for scorer in model.scorers}
    if manifest.scorers != ours:
        raise BadModel(f"{directory}: the model was fitted for other versions of its scorers than this release has")
    if model.id != manifest.id:
        raise BadModel(f"{directory}: the model's id is {model.id}, its manifest says {manifest.id}")
    return model
