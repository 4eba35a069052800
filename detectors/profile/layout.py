"""Sizes of the sketches that a profile is made of."""

from __future__ import annotations

TOPS = {"system": 6, "head": 8, "tail": 8, "grams": 12, "contract": 6, "parameters": 8, "elicited": 12}
"""Top-k sketches and their sizes. An element that is constant in a key is met early and then counted exactly; the size
only bounds how well a minority template is seen beside k − 1 others."""

DISTINCTS = {"valuable": 128, "networks": 64, "clients": 64, "biases": 64, "end_users": 64}
"""Distinct counts and their registers."""

WINDOWS = {"contents": 64, "refused": 32, "foreign": 32, "answers": 144, "phrases": 48}
"""Recent sets and their sizes. `answers` holds the shingles of about the last 24 answers."""

REPEATS = 64
SIGNATURES = 32

GRAM_MEMORY = 4
"""A shingle is counted when it stood in one of the last four exchanges too: twelve new shingles per exchange would
otherwise push every constant one out of a small sketch. What makes up a share p of a key's exchanges is missed with
probability (1 − p)^4."""
