"""Published detectors of model extraction, as functions of embeddings, to compare with in the same run.

Settings are those of arXiv 2606.05725 and of its code (LabRAI/mmd-llm-mea-detection), which adapts each method to batches
of queries without labels. Each is fitted on reference embeddings, float32 of shape (n, width), and gives one number for a
window of them; the number is compared with those of reference windows of the same size. Written anew from the descriptions;
where the authors' original differs from the adaptation, the file says how.

null          score of a window and scores of reference windows → p-value, one- or two-sided
prada         Juuti et al., EuroS&P 2019: are the distances between neighbours normally distributed
seat          Zhang, Chen and Wagner, AISec 2021: how many pairs are near-duplicates
cap           "Stealing and Defending the Ends of LLMs": how much of the embedding space was visited
mahalanobis   Podolskiy et al., AAAI 2021: how far from the reference's Gaussian
mmd           Liu, Guo and Dong, arXiv 2606.05725: the distance of kernel means
"""
