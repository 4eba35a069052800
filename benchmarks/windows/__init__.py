"""The window protocol of arXiv 2606.05725: which share of attacking queries in a window does a test still see?

pairs      honest and attacking texts that share nothing, with what may serve as other traffic
shape      what a text looks like
queries    texts beside what the methods see of them
methods    every method as one function: reference traffic → a test of windows
protocol   folds, windows and alarms
honest     false alarms of our own test on many disjoint windows
results    p-values by pair, size and method, kept in a file
report     tables and the picture
"""
