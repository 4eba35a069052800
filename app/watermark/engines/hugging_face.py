"""Marks for `transformers`: a logits processor for one call of `generate`.

    processor = WatermarkProcessor([keys.marking(request)], Sampling(temperature=0.8, top_p=0.95))
    model.generate(**inputs, do_sample=True, logits_processor=LogitsProcessorList([processor]))

`generate` runs it before its own temperature and truncation. A Gumbel mark therefore does both here and leaves one
candidate; give the sampling to the processor, and what `generate` is given as well makes no difference then.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from app.watermark.engines.following import Following
from app.watermark.engines.keys import Marking
from app.watermark.engines.rows import Row, Rows, Sampling

PLAIN = Sampling()


class WatermarkProcessor(LogitsProcessor):  # type: ignore[misc]
    """Marks the rows of one call of `generate`, each with its own codeword. Prompts are no context.

    Args:
        markings: one per row of the call (prompts times `num_return_sequences`, in their order), None for a row that is
            not marked; or a single one for all rows.
        sampling: how tokens are drawn, the same for all rows; a green mark leaves that to `generate`.

    Raises:
        ValueError: there are no markings.
    """

    def __init__(self, markings: Sequence[Marking | None], sampling: Sampling = PLAIN) -> None:
        if not markings:
            raise ValueError("markings: at least one is needed")
        self._markings = list(markings)
        self._sampling = sampling
        self._rows = Rows()
        self._answers: list[Following | None] = []
        self._tokens: list[list[int]] = []
        self._before: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """The scores of the next tokens, marked; a new tensor of the same shape.

        Args:
            input_ids: prompts and what was generated so far; shape (rows, length).
            scores: logits; shape (rows, vocabulary).

        Raises:
            ValueError: the rows are not as many as the markings; or they are not those of the last call and one token
                more, as under beam search or with a draft model, or when the processor is used for a second call.
        """
        self._advance(input_ids)
        rows = []
        for index, (following, answer) in enumerate(zip(self._answers, self._tokens, strict=True)):
            by = None if following is None else following.next(answer)
            if by is not None and following is not None:
                rows.append(Row(index, by, following.marking.profile, self._sampling))
        marked: torch.FloatTensor = scores.clone()
        self._rows.mark(marked, rows)
        return marked

    def _advance(self, input_ids: torch.Tensor) -> None:
        before, self._before = self._before, input_ids
        if before is None:
            self._begin(len(input_ids))
            return
        if input_ids.shape != (len(before), before.shape[1] + 1) or not torch.equal(input_ids[:, :-1], before):
            raise ValueError(
                "input_ids: must be those of the last step and one token more: a processor serves one call of generate,"
                " without beams and without a draft model"
            )
        for answer, token in zip(self._tokens, input_ids[:, -1].tolist(), strict=True):
            answer.append(token)

    def _begin(self, rows: int) -> None:
        markings = self._markings * rows if len(self._markings) == 1 else self._markings
        if len(markings) != rows:
            raise ValueError(f"markings: {rows} rows are generated and there are {len(markings)} markings")
        self._answers = [None if marking is None else Following(marking) for marking in markings]
        self._tokens = [[] for _ in range(rows)]
