"""Marks for SGLang: request fields for the marks that it makes itself, and a custom logit processor that makes ours.

SGLang's own marks (`--enable-watermark`) take a key of 64 bits with each request; `native_fields` gives every tenant one.
They are found with SGLang's detector or `detectors.watermark.compat`, key by key. Our marks need `WatermarkLogitProcessor`
(`--enable-custom-logit-processor`); they are found for all tenants in one pass.

Written after `python/sglang/srt/sampling/custom_logit_processor.py`, `python/sglang/srt/layers/sampler.py` and
`python/sglang/srt/sampling/watermarking/config.py` of SGLang as they stood in 2026.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from app.watermark.engines.following import Following
from app.watermark.engines.keys import of_this_process
from app.watermark.engines.request import read
from app.watermark.engines.rows import Row, Rows, Sampling
from detectors.watermark.keys import MasterSecret

try:
    from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor
except ImportError:  # Without SGLang the class is itself alone, for the contract tests.
    CustomLogitProcessor = object

log = logging.getLogger("stillwatch.watermark")

REQUEST = "__req__"
"""Under which SGLang puts its own record of the request among the parameters."""

MAX_WINDOW = 64
"""Of SGLang: the widest context that its own marks take."""

NOT_REQUESTS = (
    "Rows of logits are not requests, so answers are not marked: SGLang drafts, and this processor does not follow."
)


def native_key(secret: MasterSecret, tenant: str) -> str:
    """A tenant's key for SGLang's own marks: 16 hexadecimal digits. Keys of two tenants say nothing about each other."""
    key = secret.derive("sglang/1")
    return hashlib.blake2b(tenant.encode(), key=key, digest_size=8).hexdigest()


def native_fields(secret: MasterSecret, tenant: str, context_window: int = 4) -> dict[str, dict[str, Any]]:
    """What is merged into the body of a request, so that SGLang marks its answer with the tenant's key.

    The key in it is as good as the tenant's mark: it goes to the engine alone, and never to a client or a log.

    Raises:
        ValueError: `context_window` is not from 1 to 64.
    """
    if not 1 <= context_window <= MAX_WINDOW:
        raise ValueError(f"context_window: must be from 1 to {MAX_WINDOW}")
    return {"watermark": {"enabled": True, "key": native_key(secret, tenant), "context_window": context_window}}


class WatermarkLogitProcessor(CustomLogitProcessor):  # type: ignore[misc]
    """Our marks in SGLang. A request names it with `WatermarkLogitProcessor.to_str()`; its fields are `custom_params`.

    Secrets and profiles are those of the engine process's environment. ValueError if it names none.
    """

    def __init__(self) -> None:
        self._keys = of_this_process()
        self._answers: WeakKeyDictionary[Any, Following] = WeakKeyDictionary()
        self._rows = Rows()
        self._warned = False

    def __call__(self, logits: Any, custom_param_list: Sequence[dict[str, Any] | None] | None = None) -> Any:
        """Marks the rows of requests that are to be marked, in place.

        Args:
            logits: of shape (requests, vocabulary), before temperature and truncation.
            custom_param_list: of each request its parameters, SGLang's record of it among them.
        """
        listed = custom_param_list or ()
        if len(logits) != len(listed):
            if not self._warned:
                self._warned = True
                log.error(NOT_REQUESTS)
            return logits
        rows = []
        for index, parameters in enumerate(listed):
            if parameters is None or parameters.get(REQUEST) is None:
                continue
            request = parameters[REQUEST]
            following = self._following(request, parameters)
            by = None if following is None else following.next(request.output_ids)
            if by is not None and following is not None:
                rows.append(Row(index, by, following.marking.profile, _sampling_of(request.sampling_params)))
        self._rows.mark(logits, rows)
        return logits

    def _following(self, request: Any, parameters: dict[str, Any]) -> Following | None:
        known = self._answers.get(request)
        if known is None:
            asked = read(parameters)
            if asked is None:
                return None
            known = self._answers[request] = Following(self._keys.marking(asked))
        return known


def _sampling_of(parameters: Any) -> Sampling:
    return Sampling(parameters.temperature, parameters.top_k, parameters.top_p, parameters.min_p)
