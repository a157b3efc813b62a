"""Step 2 of the method: an object becomes the places that are like it (DESIGN 1.2).

In: a normalised tomogram, and the query: the feature of what lies under the clicks, or that of a saved query.
Out: `cryosam.matching.candidates.Candidates`, each with its similarity and its mask.
May import: instances, backends, and the nouns at the package's root; no later step.
"""
