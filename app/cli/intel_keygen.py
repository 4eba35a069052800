"""intel keygen: a key that signs what is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.acting import tell


def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="New file for the private key.")],
) -> None:
    """Make an Ed25519 key: the private one into a file for its owner alone, the public one to standard output.

    Name the file in intel.signing_key_file. Give others the public key, and the fingerprint by another way.

    Example: [bold]stillwatch intel keygen signing.pem > provider.pub.pem[/bold]
    """
    from app.intel.signing import SigningKey

    key = SigningKey.made()
    key.write(file)
    print(key.public.pem, end="")
    tell([f"fingerprint: {key.public.fingerprint}"])
