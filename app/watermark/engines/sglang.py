"""Marks for SGLang: a custom logit processor that makes ours (`--enable-custom-logit-processor`).

SGLang also makes marks itself, of a key of 64 bits that comes with each request (`--enable-watermark`): for those the
gateway's fields are enough, and nothing of this runs in the engine. They are searched for key by key, ours for all tenants
in one pass.

Written after `python/sglang/srt/sampling/custom_logit_processor.py` and `python/sglang/srt/layers/sampler.py` of SGLang as
they stood in 2026.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from app.watermark.engines.following import Following
from app.watermark.engines.keys import of_this_process
from app.watermark.engines.request import read
from app.watermark.engines.rows import Row, Rows, Sampling

try:
    from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor
except ImportError:  # Without SGLang the class is itself alone, for the contract tests.
    CustomLogitProcessor = object

log = logging.getLogger("stillwatch.watermark")

REQUEST = "__req__"
"""Under which SGLang puts its own record of the request among the parameters."""

NOT_REQUESTS = (
    "Rows of logits are not requests, so answers are not marked: SGLang drafts, and this processor does not follow."
)


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
