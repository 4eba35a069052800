"""Trains and examines the shipped network that rates one exchange: harvest or honest.

`exchanges` takes labelled exchanges from random worlds, `training` fits, `python -m benchmarks.harvest` reports and writes.
"""
