"""Marks in a batch of logits, on whatever they lie: numpy arrays here, torch tensors on any device.

For a Gumbel mark the token is chosen here: temperature, min-p, top-k and top-p are applied, in this order, to a copy; then
all but the chosen candidate are set to minus infinity, so that whatever an engine does with its temperature and truncation
afterwards, it can only draw that one. For a green mark the listed candidates are raised and the engine samples as ever.

The numbers are those of `detectors.watermark.prf`, bit for bit; on torch they are made where the logits lie, of one 64-bit
word per row that comes from the host. 64-bit arithmetic of torch is signed: products wrap alike, and the bits that a shift
to the right draws in from the sign are masked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.watermark import prf
from detectors.watermark.green import green
from detectors.watermark.prf import offsets_of, stream
from detectors.watermark.registry import MarkProfile
from detectors.watermark.sampling import Marked, noise

SHORTLIST = 1024
"""Up to so many candidates by top-k a selection is cheaper than sorting a vocabulary."""

ROWS_AT_ONCE = 32
"""Rows in one pass: 32 of 128,000 candidates are 33 MB of words, and as much again for numbers and probabilities each."""

GREEDY_BELOW = 1e-5
"""Temperatures below it mean the most probable token: vLLM's `_SAMPLING_EPS`."""


class Sampling(NamedTuple):
    """How the engine would sample.

    Attributes:
        temperature: below `GREEDY_BELOW`: the most probable token.
        top_k: how many candidates are left; 0 or less: all.
        top_p: the most probable candidates that add up to it are left; 1: all.
        min_p: candidates less probable than this share of the most probable one are dropped; 0: none.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn, so that there is nothing for a Gumbel mark to choose."""
        return self.temperature < GREEDY_BELOW or self.top_k == 1


class Row(NamedTuple):
    """One row of logits that is to be marked.

    Attributes:
        at: which row.
        by: which numbers.
        profile: which scheme, and for a green mark how much.
        sampling: how the engine would sample.
    """

    at: int
    by: Marked
    profile: MarkProfile
    sampling: Sampling


class Rows:
    """Marks rows of logits; keeps what is the same at every step."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[int, str], Any] = {}

    def mark(self, logits: Any, rows: Sequence[Row]) -> None:
        """Changes the rows in place.

        Args:
            logits: floating point, of shape (rows, vocabulary): a numpy array or a torch tensor.
            rows: which, and how; those of a Gumbel mark that sample greedily are left alone.
        """
        gumbel = [row for row in rows if row.profile.scheme == "gumbel" and not row.sampling.greedy]
        listed = [row for row in rows if row.profile.scheme == "green"]
        on_host = isinstance(logits, np.ndarray)
        for start in range(0, len(gumbel), ROWS_AT_ONCE):
            (self._choose if on_host else self._choose_on_device)(logits, gumbel[start : start + ROWS_AT_ONCE])
        for start in range(0, len(listed), ROWS_AT_ONCE):
            (self._raise if on_host else self._raise_on_device)(logits, listed[start : start + ROWS_AT_ONCE])

    def _choose(self, logits: NDArray[np.floating], rows: Sequence[Row]) -> None:
        for row in rows:
            values = truncated(logits[row.at].astype(np.float64), row.sampling)
            chosen = int((values + noise(self._vocabulary(logits.shape[1]), row.by)).argmax())
            kept = logits[row.at, chosen]
            logits[row.at] = -np.inf
            logits[row.at, chosen] = kept

    def _raise(self, logits: NDArray[np.floating], rows: Sequence[Row]) -> None:
        for row in rows:
            logits[row.at, green(row.profile, self._vocabulary(logits.shape[1]), row.by)] += row.profile.delta

    def _vocabulary(self, size: int) -> NDArray[np.uint64]:
        key = (size, "host")
        if key not in self._offsets:
            self._offsets[key] = offsets_of(np.arange(size))
        made: NDArray[np.uint64] = self._offsets[key]
        return made

    def _choose_on_device(self, logits: Any, rows: Sequence[Row]) -> None:
        import torch

        device = logits.device
        index = torch.tensor([row.at for row in rows], device=device)
        values, candidates = _truncated_on_device(logits.index_select(0, index), [row.sampling for row in rows])
        offsets = self._vocabulary_on_device(logits)
        numbers = _uniforms_on_device(offsets[candidates] if candidates is not None else offsets[None, :], rows, device)
        at = (values - torch.log(-torch.log(numbers))).argmax(dim=1, keepdim=True)
        chosen = (candidates.gather(1, at) if candidates is not None else at).squeeze(1)
        kept = logits[index, chosen]
        logits.index_fill_(0, index, -math.inf)
        logits[index, chosen] = kept

    def _raise_on_device(self, logits: Any, rows: Sequence[Row]) -> None:
        import torch

        device = logits.device
        index = torch.tensor([row.at for row in rows], device=device)
        gamma, delta = (
            torch.tensor(column, dtype=torch.float64, device=device)[:, None]
            for column in ([row.profile.gamma for row in rows], [row.profile.delta for row in rows])
        )
        numbers = _uniforms_on_device(self._vocabulary_on_device(logits)[None, :], rows, device)
        logits.index_add_(0, index, ((numbers < gamma) * delta).to(logits.dtype))

    def _vocabulary_on_device(self, logits: Any) -> Any:
        import torch

        key = (logits.shape[1], str(logits.device))
        if key not in self._offsets:
            self._offsets[key] = torch.from_numpy(self._vocabulary(logits.shape[1]).view(np.int64)).to(logits.device)
        return self._offsets[key]


def truncated(logits: NDArray[np.float64], sampling: Sampling) -> NDArray[np.float64]:
    """Logits divided by the temperature, minus infinity where a candidate is dropped; shape (vocabulary,)."""
    values = logits / sampling.temperature
    if sampling.min_p > 0:
        values[values < values.max() + math.log(sampling.min_p)] = -np.inf
    if 0 < sampling.top_k < len(values):
        values[np.argsort(-values, kind="stable")[sampling.top_k :]] = -np.inf
    if sampling.top_p < 1:
        order = np.argsort(-values, kind="stable")
        probabilities = np.exp(values[order] - values[order[0]])
        probabilities /= probabilities.sum()
        before = np.cumsum(probabilities) - probabilities
        # The most probable one stays, however small the share.
        values[order[1:][before[1:] >= sampling.top_p]] = -np.inf
    return values


def _truncated_on_device(block: Any, sampling: Sequence[Sampling]) -> tuple[Any, Any]:
    """The same for rows of a tensor: (values, candidates), each of shape (rows, n).

    Candidates are None where they are the whole vocabulary in its order; else each row's are sorted by their logits.
    """
    import torch

    def column(numbers: Sequence[float]) -> Any:
        return torch.tensor(numbers, dtype=torch.float64, device=block.device)[:, None]

    vocabulary = block.shape[1]
    most = [one.top_k if 0 < one.top_k < vocabulary else vocabulary for one in sampling]
    values = block.double() / column([one.temperature for one in sampling])
    candidates = None
    if max(most) <= min(SHORTLIST, vocabulary - 1):
        values, candidates = values.topk(max(most), dim=1)
    elif min(most) < vocabulary or any(one.top_p < 1 for one in sampling):
        values, candidates = values.sort(dim=1, descending=True, stable=True)
    if any(one.min_p > 0 for one in sampling):
        least = column([math.log(one.min_p) if one.min_p > 0 else -math.inf for one in sampling])
        values.masked_fill_(values < values.amax(dim=1, keepdim=True) + least, -math.inf)
    if candidates is not None:
        values.masked_fill_(torch.arange(values.shape[1], device=block.device)[None, :] >= column(most), -math.inf)
        probabilities = values.softmax(dim=1)
        before = probabilities.cumsum(dim=1) - probabilities
        dropped = before >= column([one.top_p if one.top_p < 1 else math.inf for one in sampling])
        dropped[:, 0] = False
        values.masked_fill_(dropped, -math.inf)
    return values, candidates


def _uniforms_on_device(offsets: Any, rows: Sequence[Row], device: Any) -> Any:
    """`detectors.watermark.prf.uniforms` for the candidates of several rows: float64 of shape (rows, candidates)."""
    import torch

    streams = np.array([stream(row.by.seed, row.by.symbol) for row in rows], np.uint64).view(np.int64)
    words = offsets + torch.from_numpy(streams).to(device)[:, None]
    for shift, factor in ((30, prf.FIRST), (27, prf.SECOND)):
        words ^= (words >> shift) & ((1 << 64 - shift) - 1)
        words *= factor - (1 << 64)
    words ^= (words >> 31) & ((1 << 33) - 1)
    return (((words >> 11) & ((1 << 53) - 1)).double() + 0.5) * 2.0**-53
