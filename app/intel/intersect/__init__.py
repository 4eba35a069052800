"""Which accounts two providers both see, without either showing the others: private set intersection by files.

The asker blinds its set (offer), the answerer blinds that once more and adds its own set (answer), the asker takes its own
blinding away and compares. The first offer of a run yields the size alone; the members take a second offer about the very
same set, which a person on each side has to agree to. What this protects and what it does not: `docs/intel.md`.

bounds      sizes of sets, and how often
identities  a file of accounts → keyed tokens
curve       the library: blinding and comparing, in slices that tell their progress
wire        offers and answers as files: sealed with the group's key, a fixed number of bytes an element
session     what the asker keeps between offer and answer: the blinding key
exchange    the steps of both sides
"""
