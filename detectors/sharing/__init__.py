"""What one provider may tell another about an operation, and what the other makes of it. Values and numbers only.

indicator  the values that are shared: a set of tokens of one kind, with its scheme, its epoch and its time
tokens     marks of keys (`detectors.campaign.trace`) → tokens that only members of a trust group can compare
distil     members of a campaign beside honest keys → the marks that tell them apart: what may be shared
match      received indicators against keys: which are hit, on which independent kinds, how strongly
trust      who says it, how often they were right, how old it is → a score, and what it may lead to
"""
