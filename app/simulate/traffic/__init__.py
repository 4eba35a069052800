"""Invented clients of a model API: honest kinds of customer, and families of attack.

calls        what a client asks and hears, in either dialect
stacks       the headers that client libraries send
honest       one script per kind of customer
attacks      one script per family
population   who the clients are: credential, organisation, plan, age, script
player       plays a script over real HTTP
recorder     plays a script in simulated time, for a history

A script is a generator: it yields what the client sends next and is given what came back, so the same script runs against
a live gateway and in a history that is made in seconds.
"""
