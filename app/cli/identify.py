"""id: which key id belongs to a credential."""

from __future__ import annotations

import getpass
import sys

from app.cli.common import Config, Sets, settle
from app.errors import BadInput, ConfigError
from app.main import NEEDS_PEPPER

MAX_CREDENTIAL_BYTES = 4096
"""As much as the gateway takes for a credential."""


def identify(config: Config = None, sets: Sets = None) -> None:
    """Print the key id of a credential: the name under which the service knows a key, as it never stores the key itself.

    The credential is read from standard input, on a terminal without showing it, and never from the command line, which
    others on the machine can read. Needs identity.pepper (STILLWATCH_PEPPER), the one that the gateway has.

    Example: [bold]stillwatch id < key.txt[/bold]
    """
    from app.gateway.identity import Hasher

    pepper = settle(config, sets).identity.pepper.get_secret_value()
    if not pepper:
        raise ConfigError(NEEDS_PEPPER)
    print(Hasher(pepper).key(_credential()))


def _credential() -> bytes:
    if sys.stdin.isatty():
        try:
            credential = getpass.getpass("Credential (not shown): ").encode()
        except EOFError:
            credential = b""
    else:
        credential = sys.stdin.buffer.read(MAX_CREDENTIAL_BYTES + 2)  # with a line end
    credential = credential.strip()
    if not credential:
        raise BadInput("no credential: give it on standard input, one line without 'Bearer'")
    if len(credential) > MAX_CREDENTIAL_BYTES or any(byte <= 32 or byte == 127 for byte in credential):
        raise BadInput("the credential must be one line without white space, at most 4096 bytes, and without 'Bearer'")
    return credential
