"""Learned numbers that are shipped: `<name>.npz` beside its card `<name>.toml`, which holds the checksum. No pickle.

An artefact is read whole, compared with its card's SHA-256 and only then decoded; one that differs is refused. The cards
say what an artefact was made of, how, by which command, what it is good for and what not.
"""

from __future__ import annotations

import io
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray


class BadArtefact(ValueError):
    """A shipped artefact that cannot be used; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """What was shipped.

    Attributes:
        card: the TOML beside it, as a tree.
        arrays: by name.
    """

    name: str
    card: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def load(name: str) -> Artefact:
    """The artefact of a name.

    Raises:
        BadArtefact: it or its card is missing, or its bytes are not the ones that the card describes.
    """
    folder = files(__name__)
    try:
        card = tomllib.loads((folder / f"{name}.toml").read_text("utf-8"))
        data = (folder / f"{name}.npz").read_bytes()
    except OSError as error:
        raise BadArtefact(f"artefact {name}: {error.strerror or 'cannot be read'}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadArtefact(f"artefact {name}: its card is no TOML: {error}") from None
    if sha256(data).hexdigest() != card.get("sha256"):
        raise BadArtefact(f"artefact {name}: its checksum is not the one of its card")
    with np.load(io.BytesIO(data), allow_pickle=False) as held:
        return Artefact(name, card, {key: held[key] for key in held.files})
