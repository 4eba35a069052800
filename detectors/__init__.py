"""The science of Stillwatch: pure functions and small values, with no network, no Redis and no clock.

The stages, in the order data flows through them:

    event        one API exchange as a value
    fingerprint  its text as hashes and small numbers: skeleton, contract, MinHash, intents
    sketch       mergeable sketches that profiles are made of
    profile      what is remembered about one entity (key or organisation)
    features     the catalogue, and Profile → FeatureVector
    reference    peer groups of a history: the distribution of every feature
    calibrate    conformal p-values, one vote per organisation
    guarded      the same where a peer group is small: careful by the wider groups, too
    discovery    many p-values: several scorers' as one, and which entities to call at a look
    drift        features in which the whole fleet moved at once
    scorers      one detector per file, with its card: FeatureVector → Score
    policy       what scores mean, as data
    verdict      Scores → Verdict, with hysteresis, reasons and the leak count
    model        scorers, calibration and policy in one: fit, save, load
    looks        at the whole fleet, once in an interval: what is frozen, and who stands out
    analysis     the stages in a row, for a batch of events: what the live worker and replay both run
    templates_view  what an entity's requests have in common, to be read by a person

A new named rule is a file in `scorers` with its card, a line in `scorers.registry` and one in `policy.RULES`; `conformance`
holds what every scorer must obey.

`now` is always an argument; nothing here reads a clock or the environment.
"""
