"""Publications as the admin API shows them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from app.admin.models_intel_publications import PublicationDetail, PublicationOut, PublicationPreview
from app.admin.views import moment
from app.intel.readable import lines
from app.state.intel_published import Publication


def preview(found: Publication) -> PublicationPreview:
    """What would leave."""
    terms = found.terms
    return PublicationPreview(
        campaign=terms.campaign,
        group=terms.group,
        tlp=terms.tlp,
        version=terms.version,
        follows=terms.follows,
        keys=terms.keys,
        left_out=terms.left_out,
        identities=terms.identities,
        objects=terms.counts,
        size=terms.size,
        says=lines(found.bundle),
        bundle=found.bundle.decode(),
    )


def listed(found: Publication, unsent: Collection[str], at_us: int) -> PublicationOut:
    """Without its bytes."""
    return PublicationOut(**_fields(found, unsent, at_us))


def detail(found: Publication, unsent: Collection[str], at_us: int) -> PublicationDetail:
    """With them."""
    return PublicationDetail(
        **_fields(found, unsent, at_us),
        says=lines(found.bundle),
        bundle=found.bundle.decode(),
        revocation=found.revocation.decode(),
    )


def _fields(found: Publication, unsent: Collection[str], at_us: int) -> dict[str, Any]:
    terms = found.terms
    return {
        "id": found.id,
        "campaign": terms.campaign,
        "group": terms.group,
        "tlp": terms.tlp,
        "status": found.status_at(at_us),
        "in_feed": found.status in ("published", "replaced", "retracted") and found.id not in unsent,
        "version": terms.version,
        "follows": terms.follows,
        "keys": terms.keys,
        "left_out": terms.left_out,
        "identities": terms.identities,
        "objects": terms.counts,
        "size": terms.size,
        "sha256": terms.sha256,
        "confirmed_by_review": terms.reviewed,
        "proposed_by": terms.by,
        "proposed": moment(terms.since_us),
        "approvable_until": moment(terms.until_us),
        "reason": terms.reason,
        "decided": moment(found.decided_us) if found.decided_us else None,
        "decided_by": found.decided_by,
        "decision": found.decision,
        "retracted": moment(found.retracted_us) if found.retracted_us else None,
        "retracted_by": found.retracted_by,
        "retraction": found.retraction,
    }
