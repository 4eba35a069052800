"""The tokens of a corpus: of a tokenizer file, of words, or as the corpus lists them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput, ConfigError
from detectors.watermark.registry import WORDS, MarkProfile
from detectors.watermark.words import words

MAX_BYTES = 1 << 28
"""Of a tokenizer file; those of current models have 2 to 35 MB."""

MOST = 2**32 - 1


class Tokens:
    """Makes tokens of documents as a profile demands it.

    Args:
        profile: says which tokenizer.
        file: the tokenizer file, `tokenizer.json`; None: there is none, and only lists of tokens, or words, can be read.

    Raises:
        ConfigError: the file is not the profile's, or the extra `watermark` is not installed.
        BadInput: the file cannot be read.
    """

    def __init__(self, profile: MarkProfile, file: Path | None = None) -> None:
        self._profile = profile
        self._encoder: Any = None
        if file is not None and profile.tokenizer == WORDS:
            raise ConfigError(f"--tokenizer: profile {profile.id} counts words ({WORDS}) and takes no tokenizer file")
        if file is not None:
            self._encoder = _encoder(profile, file)

    @property
    def said(self) -> str:
        """How texts become tokens, in a sentence."""
        if self._profile.tokenizer == WORDS:
            return f"Texts become words and punctuation marks ({WORDS}); lists of tokens are taken as they are."
        if self._encoder is None:
            return "The corpus lists its tokens itself."
        return f"Texts become tokens by the tokenizer file with SHA-256 {self._profile.tokenizer}."

    def of(self, contents: Sequence[str | NDArray[np.uint32]], places: Sequence[str]) -> list[NDArray[np.uint32]]:
        """The tokens of documents; a list of tokens is taken as it is.

        Raises:
            BadInput: a text needs the tokenizer file and there is none; its place is named.
        """
        made = [content if isinstance(content, np.ndarray) else _NONE for content in contents]
        texts = [(at, content) for at, content in enumerate(contents) if isinstance(content, str) and content]
        if self._profile.tokenizer == WORDS:
            for at, text in texts:
                made[at] = words(text)
        elif texts:
            if self._encoder is None:
                raise BadInput(
                    f"{places[texts[0][0]]}: is a text, for which profile {self._profile.id} needs the tokenizer file with "
                    f"SHA-256 {self._profile.tokenizer} (--tokenizer)"
                )
            encoded = self._encoder.encode_batch_fast([text for _, text in texts], add_special_tokens=False)
            for (at, _), one in zip(texts, encoded, strict=True):
                made[at] = np.array(one.ids, np.uint32)
        return made


_NONE: NDArray[np.uint32] = np.empty(0, np.uint32)


def token_list(place: str, field: str, values: list[Any]) -> NDArray[np.uint32]:
    """A list of tokens as it stands in a corpus.

    Raises:
        BadInput: one is no whole number of 32 bits without a sign; it is named.
    """
    try:
        tokens = np.array(values)
        fits = tokens.dtype.kind in "iu" and tokens.ndim == 1
    except (ValueError, OverflowError):
        fits = False
    if not values:
        return _NONE
    # numpy takes true for 1 among numbers.
    if fits and bool not in set(map(type, values)) and int(tokens.min()) >= 0 and int(tokens.max()) <= MOST:
        return tokens.astype(np.uint32)
    for number, value in enumerate(values, 1):
        if type(value) is not int or not 0 <= value <= MOST:
            said = f" and is {value}" if type(value) is int and abs(value) < 10**18 else ""
            raise BadInput(f"{place}: {field}: item {number} must be a whole number from 0 to 4,294,967,295{said}")
    return np.array(values, np.uint32)


def content(place: str, field: str, value: Any) -> str | NDArray[np.uint32]:
    """A field that holds a text, a list of tokens, or nothing.

    Raises:
        BadInput: it is something else.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list):
        return token_list(place, field, value)
    raise BadInput(f"{place}: {field}: must be a string or a list of whole numbers")


def sum_of(file: Path) -> str:
    """SHA-256 of a tokenizer file, as a profile names it.

    Raises:
        BadInput: it cannot be read.
    """
    return sha256(_read(file)).hexdigest()


def _encoder(profile: MarkProfile, file: Path) -> Any:
    data = _read(file)
    found = sha256(data).hexdigest()
    if found != profile.tokenizer:
        raise ConfigError(
            f"--tokenizer {file}: has the SHA-256 {found}, and profile {profile.id} was made with {profile.tokenizer}"
        )
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ConfigError("--tokenizer needs the extra 'watermark': pip install 'stillwatch[watermark]'") from None
    try:
        made = Tokenizer.from_buffer(data)
    except Exception as error:
        # The library raises bare Exception.
        raise BadInput(f"{file}: is no tokenizer file that the library reads ({type(error).__name__})") from None
    # A file may say that texts are cut or filled up for training.
    made.no_truncation()
    made.no_padding()
    return made


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or 'cannot be read'}") from None
    if len(data) > MAX_BYTES:
        raise BadInput(f"{file}: must be at most {MAX_BYTES >> 20} MiB")
    return data
