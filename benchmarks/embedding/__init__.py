"""Where the embedding table comes from, and why this embedding: `python -m benchmarks.embedding` chooses.

teacher     all-MiniLM-L6-v2 over texts, kept by digest; needs the dependency group `embedding`
fit         texts and their teacher's directions → detectors/artefacts/token_table
candidates  the table, what it could have been instead, and the teacher
power       how many attacked windows a difference of means tells in an embedding
"""
