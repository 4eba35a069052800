"""The event log's consumer: streams → profiles, verdicts, archive.

leases    which partitions this worker owns, and when it gives some up
consume   one partition: read, decode, analyse, commit, as one batch after the other
hot       entity states kept in memory between batches
effects   what a batch's verdicts mean for enforcement and for people
rows      an archived event as bytes and as columns
archive   applied events → Parquet files; listing and checking them
worker    the loops above, started in order and stopped in reverse
"""
