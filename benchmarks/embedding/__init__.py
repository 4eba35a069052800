"""Where the embedding table comes from: a sentence encoder as teacher, a bag of words as student.

teacher   all-MiniLM-L6-v2 over texts, kept by digest; needs the dependency group `embedding`
fit       texts and their teacher's directions → detectors/artefacts/token_table
"""
