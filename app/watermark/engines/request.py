"""What a gateway sends with a request that is to be marked, and an engine reads: the profile's name and a codeword.

Never a secret and never a tenant's name: without the epoch's secret a codeword says nothing about anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.keys import from_wire, to_wire
from detectors.watermark.registry import MarkProfile

PROFILE = "wm_profile"
CODE = "wm_code"

_MAX_ID = 64
_MAX_CODE = 2048
"""Of hexadecimal digits: 1,024 positions of two each, the most that a profile may have."""


class MarkRequest(NamedTuple):
    """How one request's answer is to be marked.

    Attributes:
        profile: id of a `MarkProfile`.
        code: the codeword, as `detectors.watermark.keys.to_wire` writes it.
    """

    profile: str
    code: str

    @classmethod
    def of(cls, profile: MarkProfile, word: NDArray[np.uint8]) -> MarkRequest:
        """For a codeword (uint8 of shape (positions,))."""
        return cls(profile.id, to_wire(word, profile.symbols))

    def word(self, profile: MarkProfile) -> NDArray[np.uint8]:
        """The codeword: uint8 of shape (positions,). ValueError if it is none of this profile's."""
        return from_wire(self.code, profile.positions, profile.symbols)

    def fields(self) -> dict[str, str]:
        """As an engine reads them."""
        return {PROFILE: self.profile, CODE: self.code}

    def for_vllm(self) -> dict[str, dict[str, str]]:
        """What is merged into the body of a request to vLLM; there it becomes `SamplingParams.extra_args`."""
        return {"vllm_xargs": self.fields()}

    def for_sglang(self) -> dict[str, dict[str, str]]:
        """What is merged into the sampling parameters of a request to SGLang, beside its `custom_logit_processor`."""
        return {"custom_params": self.fields()}


def read(fields: Mapping[str, Any] | None) -> MarkRequest | None:
    """What an engine was told about a request; None where it is not to be marked.

    Args:
        fields: `SamplingParams.extra_args` of vLLM or `custom_params` of SGLang; other fields in it are left alone.

    Raises:
        ValueError: one of the two fields is missing or malformed; it is named, and its content is not repeated.
    """
    fields = fields or {}
    profile, code = fields.get(PROFILE), fields.get(CODE)
    if profile is None and code is None:
        return None
    for name, value, most in ((PROFILE, profile, _MAX_ID), (CODE, code, _MAX_CODE)):
        if value is None:
            raise ValueError(f"{name}: is missing; {PROFILE} and {CODE} come together")
        if not isinstance(value, str) or not 1 <= len(value) <= most:
            raise ValueError(f"{name}: must be a text of 1 to {most:,} characters")
    return MarkRequest(str(profile), str(code))
