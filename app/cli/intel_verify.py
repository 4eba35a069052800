"""intel verify: what is in a document of shared intelligence, and whether it holds."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.acting import print_json
from app.cli.common import AsJson, out
from app.errors import BadInput

if TYPE_CHECKING:
    from app.cli.intel_documents import Opened
    from app.intel.content import Content

Source = Annotated[
    str, typer.Argument(metavar="FILE", help="Bundle, envelope or signed feed: a file, an https:// address, - for input.")
]
Key = Annotated[
    str, typer.Option("--key", metavar="PUBLIC", help="Who must have signed it: file of a public key, or its fingerprint.")
]


def verify(file: Source, key: Key = "", as_json: AsJson = False) -> None:
    """Check a document and say what is in it: bounds, signature, STIX 2.1, TLP, validity. Nothing is sent anywhere.

    Exit status 1 when it does not hold. Without --key the signature shows that nothing was changed, not whose it is.

    Example: [bold]stillwatch intel verify feed.json --key acme.pub.pem[/bold]
    """
    from app.cli.intel_documents import fetched, opened
    from app.intel import content

    found = opened(fetched(file), key)
    told = content.content(found.document, time.time_ns() // 1000)
    content.may_leave(told)
    if told.endless:
        raise BadInput(f"valid_until: {told.endless:,} indicators have none, and would count for ever")
    _valid(found)
    said = _said(found, told)
    if as_json:
        print_json(said)
        return
    for name, value in said.items():
        text = ", ".join(f"{inner} {count:,}" for inner, count in value.items()) if isinstance(value, dict) else str(value)
        out.print(f"{name}: {text or 'none'}", soft_wrap=True, markup=False)


def _valid(found: Opened) -> None:
    """BadInput where the library of STIX's makers finds a fault; one object at a time, so that size is no matter."""
    from app.intel.bundle import bundle, validated

    for one in found.document.objects():
        assert one.content is not None  # `may_leave` saw to that
        try:
            validated(bundle([one.content]))
        except ValueError as error:
            raise BadInput(f"objects.{one.number}: {str(error).removeprefix('bundle: ')}") from None


def _said(found: Opened, told: Content) -> dict[str, Any]:
    from app.intel.taxii import times

    kinds = Counter(line.indicator.kind for line in told.lines)
    ends = [line.indicator.valid_until_us for line in told.lines]
    signature = "none"
    if found.signed is not None:
        whose = "the key that was asked for" if found.trusted else "a key that it brings along; compare its fingerprint"
        signature = f"good, by {whose}"
    return {
        "document": f"{found.document.kind} of {len(found.document):,} objects, {len(found.document.data):,} bytes",
        "signature": signature,
        **(_signed(found) if found.signed is not None else {}),
        "said by": ", ".join(sorted({line.said_by for line in told.lines} - {""}) or sorted(told.names.values())),
        "tlp": dict(sorted(told.levels.items())),
        "campaigns": ", ".join(name or identifier for identifier, name in told.campaigns),
        "indicators": dict(sorted(kinds.items())) | ({"not understood": told.others} if told.others else {}),
        "revoked": sum(line.revoked for line in told.lines),
        "valid": f"until {times.version(min(ends))} to {times.version(max(ends))}" if ends else "",
        "objects": dict(sorted(told.types.items())),
    }


def _signed(found: Opened) -> dict[str, str]:
    from app.intel.taxii import times

    assert found.signed is not None
    issued, expires = (times.version(sec * 1_000_000) for sec in (found.signed.issued_sec, found.signed.expires_sec))
    return {"fingerprint": found.signed.kid, "issued": f"{issued}, taken until {expires}, number {found.signed.seq}"}
