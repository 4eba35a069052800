"""Tests of a pool of exchanges against comparable traffic: any pool, by sums alone.

rff       embedding → random Fourier features, whose mean is additive
rows      one exchange → what it adds to a pool: these features, and the bin of its harvest ratio
compare   pools against the pools of peers: is the mean elsewhere, is a part of the exchanges something else
together  several keys' pools as one, against as many peers
style     text → how it is written, for windows of texts
window    the combined test of one window of texts against a reference, as in the published protocol
"""
