"""How well keys are tied together into campaigns, on labelled worlds."""
