"""Text → tokens that every side finds alike without a tokenizer: words and single punctuation marks.

For marks that are chosen among finished answers, where no engine's tokens are known. Compatibility forms and case are
folded first (NFKC, casefold), so that neither changes a token.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> NDArray[np.uint32]:
    """The tokens of a text: uint32 of shape (n,), each a hash of a word."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    found = _WORD.findall(folded)
    return np.fromiter(map(_token, found), np.uint32, len(found))


@lru_cache(maxsize=1 << 17)
def _token(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "little")
