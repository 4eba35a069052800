"""Other corpora for the labelled traffic generator, made from public repositories: texts that nothing was tuned to."""
