"""The science of Stillwatch: pure functions and small values, with no network, no Redis and no clock.

The stages, in the order data flows through them:

    event        one API exchange as a value
    fingerprint  its text as hashes and small numbers: skeleton, contract, MinHash, intents
    sketch       mergeable sketches that profiles are made of
    profile      what is remembered about one entity (key or organisation)
    features     the catalogue, and Profile → FeatureVector
    scorers      one detector per file: FeatureVector → Score
    calibrate    peer groups and conformal p-values
    verdict      Scores → Verdict, with hysteresis and reasons
    analysis     the stages in a row, for a batch of events: what the live worker and replay both run

`now` is always an argument; nothing here reads a clock or the environment.
"""
