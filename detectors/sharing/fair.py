"""Which rows are kept where there are too many: the best of everybody's before anybody's second.

Only the strongest would let whoever makes the most of them push out what others tell: one member can name a wording in
ten thousand indicators of the highest weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fair_order(lots: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of rows in the order in which they are kept.

    Args:
        lots: of each row, whose it is; the rows of a lot come strongest first. Of rows that are equally far down in their
            lots the ones of a lower lot come first.
    """
    lot = np.asarray(lots, np.int64)
    order = np.argsort(lot, kind="stable")
    ordered = lot[order]
    first = np.searchsorted(ordered, ordered)
    depth = np.empty(len(lot), np.int64)
    depth[order] = np.arange(len(lot)) - first
    found: NDArray[np.int64] = np.lexsort((lot, depth))
    return found
