"""Profile → FeatureRow: the catalogue computed for one entity at one moment.

A feature that is undefined is absent, never 0 and never NaN: a new account must not look perfectly normal, nor perfectly
odd. Each file computes the features of one subject; `row` puts them together.
"""

from detectors.catalogue import CATALOGUE, CATALOGUE_VERSION, INDEX, Feature
from detectors.features.row import FeatureRow, features, stack

__all__ = ["CATALOGUE", "CATALOGUE_VERSION", "INDEX", "Feature", "FeatureRow", "features", "stack"]
