"""Campaigns: groups of keys that act as one.

trace      what is known of one key, from its profile; made by the workers, per partition
passes     at which moments of event time the linker looks
linker     traces → campaigns: candidates, edges, groups, the test of a group as one entity, stable identities
contract   what comes out
"""
