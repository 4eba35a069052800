"""The demonstration: everything on one machine, with invented customers and attackers.

cast     who takes part, and their accounts
history  days of honest traffic, and the model fitted on them
stage    the processes and their settings
findings what the service says about each of the cast, asked over its admin API
show     the sequence, and what is seen of it
screen   tables and progress, for a terminal and for a pipe
"""
