"""How large the sets of a run may be."""

from __future__ import annotations

LEAST = 100
"""Identities on either side: about a smaller set the size alone says nearly who is in it."""

MOST_ASKER = 24_000
"""Identities of the asker. It is what a dishonest one can guess in a run; the largest campaign that was ever told of had
24,000 accounts."""

MOST_ANSWERER = 100_000
"""Identities of the answerer, of whom it learns only which the asker named."""

ELEMENT_BYTES = 33
"""A blinded identity: a compressed point of P-256 (SEC 1, 2.3.3)."""

SLICE = 500
"""Identities between two tellings of progress, some 50 ms."""
