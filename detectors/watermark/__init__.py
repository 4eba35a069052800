"""Marks in what a model says, and the search for the keys that a text went through. Mathematics only: no files, no clock.

keys         master secrets by epoch; tenant → codeword, by HMAC
registry     mark profiles: which scheme, which context width, whose tokens, which epoch, from when until when
prf          the last tokens → seed, position and coin, by a keyed hash; then a uniform number per symbol and candidate
sampling     Gumbel-max by these numbers: the model's distribution is left as it is
green        a bias towards a keyed half of the vocabulary, for temperature zero
choice       the best of several finished answers, where nobody sees a logit
budget       how much evidence a token is expected to carry
seen         which (context, token) pairs have been counted already, in bounded memory
words        text → tokens that every side finds alike without a tokenizer
evidence     documents → scored n-grams → tables: per position and symbol, how well the text fits
conditional  the exact tail of a codeword's score, given the text
attribution  which of all issued codewords fit: pooled, and by the split test over documents
shares       how much of the text is a key's, with its confidence interval
localise     where in a document the evidence lies
served       which contexts a key was served
student      what a suspect model says or would say, as n-grams to score
tails        exact logarithms of tail probabilities
compat       detectors for the marks of other engines
"""
