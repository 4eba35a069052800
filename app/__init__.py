"""The service around the detectors: network, state, processes, people.

gateway      ASGI proxy and middleware: identify → decide → forward → observe
limits       policies, and the token budget that reserves, settles and refunds
enforcement  what a verdict does to a request, and the words it is answered with
state        the only room that talks to Redis
worker       event stream → profiles, verdicts, archive
admin        HTTP for operators, on its own port
intel        what is shared with other providers: TAXII
offline      replay of a log through the same analysis, and its report
simulate     a model API to test against, and traffic for the demonstration
telemetry    every metric once, and logging without secrets
demo         the demonstration: a past, a model, live traffic, a table
cli          the command-line program; main and processes run what it starts
"""
