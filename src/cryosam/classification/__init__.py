"""Step 4 of the method: the average decides which places are of the kind.

In: `cryosam.matching.candidates.Candidates`, and averages of them in all orientations.
Out: the candidates with probabilities and a threshold, and of these a `cryosam.results.Segmentation`.
May import: scene, every step before, and the nouns at the package's root.
"""
