"""What the shipped models are trained and examined on: labelled traffic of many random worlds, as feature rows.

`profiles` draws worlds for the traffic generator, `rows` plays one through the real pipeline, `fit` trains what is shipped,
`leave_out` says what happens when a family or a stratum was never seen.
"""
