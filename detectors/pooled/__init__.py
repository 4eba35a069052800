"""Tests of a pool of exchanges against comparable traffic: any pool, by sums alone.

rff       embedding → random Fourier features, whose mean is additive
sparse    p-values of single exchanges → is a small share of them odd: higher criticism, Berk–Jones, Fisher
window    the combined test of one window of texts against a reference, as in the published protocol
"""
