"""Our detector beside simpler and published ones, on the same traffic in the same run: `python -m benchmarks.baselines`.

verdicts    what every method hands in: a statistic of keys over time, a threshold of the warm-up, the scorer's lines
judged      our model, and the first one, on the feature rows of the run
simple      request volume; a set of z-score rules
published   PRADA, SEAT, CAP, Mahalanobis distance and MMD, of each key's own queries
figures     detection rates by group, by the definitions of the benchmark's scorer
report      tables, JSON and the picture
"""
