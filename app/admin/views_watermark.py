"""What is stored about watermarks → what the API says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime

from app.admin.models_watermark import (
    FindingsOut,
    InvestigationOut,
    InvestigationRow,
    KeyFinding,
    ProfileOut,
    ProgressOut,
)
from app.admin.watermark_folders import Investigation
from app.watermark.findings import Findings, Key
from app.watermark.jobs import Progress
from detectors.watermark.keys import KeyRing
from detectors.watermark.registry import MarkProfile


def profile(one: MarkProfile, ring: KeyRing | None, named: Collection[str], in_force: Collection[str]) -> ProfileOut:
    """A profile; of its secret the fingerprint alone."""
    has = ring is not None and one.epoch in ring.epochs
    return ProfileOut(
        **asdict(one),
        secret=ring.of(one.epoch).fingerprint() if ring is not None and has else None,
        named=one.id in named,
        in_force=one.id in in_force,
    )


def row(one: Investigation, received: int, progress: Progress | None) -> InvestigationRow:
    """An investigation in a list."""
    return InvestigationRow(**_fields(one, received, progress))


def investigation(one: Investigation, received: int, progress: Progress | None, found: Findings | None) -> InvestigationOut:
    """An investigation by itself."""
    return InvestigationOut(**_fields(one, received, progress), findings=None if found is None else findings(found))


def findings(found: Findings) -> FindingsOut:
    """What was found, in short."""
    corpus, model = found.corpus, found.model
    return FindingsOut(
        version=found.version,
        at=datetime.fromisoformat(found.at),
        profile=str(found.profile["id"]),
        secret=found.secret,
        documents=corpus.documents,
        tokens=corpus.tokens,
        ngrams=corpus.ngrams,
        repeated=corpus.repeated,
        model_log10_p=model.log10_p,
        model_best_decoy_log10_p=min(model.decoy_log10_p, default=None),
        tested=found.tested,
        fwer=found.fwer,
        keys=[_key(key) for key in found.keys],
        notes=found.notes,
    )


def _key(key: Key) -> KeyFinding:
    return KeyFinding(
        name=key.name,
        kind=key.kind,
        group=key.group,
        named=key.named,
        log10_p=key.log10_p,
        documents=key.documents,
        share=key.share,
        share_low=key.share_low,
        share_high=key.share_high,
    )


def _fields(one: Investigation, received: int, progress: Progress | None) -> dict[str, object]:
    return {
        "id": one.id,
        "name": one.name,
        "profile": one.profile,
        "format": one.form,
        "bytes": one.size,
        "sha256": one.sha256,
        "reason": one.reason,
        "by": one.by,
        "made": _moment(one.made_us),
        "changed": _moment(one.changed_us),
        "state": one.stage,
        "received": received,
        "error": one.error or None,
        "progress": None if progress is None else ProgressOut(stage=progress.stage, share=progress.share),
        "fwer": one.fwer,
        "tenants": one.tenants,
        "groups": one.groups,
    }


def _moment(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC)
