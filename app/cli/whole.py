"""A key id from as much of it as a person typed, through the admin API."""

from __future__ import annotations

from app.cli.api import Api
from app.errors import BadInput

KEY_ID_CHARS = 32


def whole_key(api: Api, start: str) -> str:
    """The one key whose id starts so; a whole id is taken as it is, for records and accounts outlive the list of keys.

    Raises:
        BadInput: no key's id starts so, or several keys' do.
    """
    if len(start) == KEY_ID_CHARS:
        return start
    found = api.get("/v1/keys", q=start, limit=2)["keys"]
    if not found:
        raise BadInput(f"no key's id starts with {start[:64]!r}; one that was never seen is named by its whole id")
    if len(found) > 1:
        raise BadInput(f"more than one key id starts with {start[:64]!r}; give more of it")
    return str(found[0]["key_id"])
