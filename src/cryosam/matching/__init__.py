"""Step 2 of the method: find the places that resemble an object.

In: a normalised tomogram, and the query: the feature of the clicked particles, or that of a saved query.
Out: `cryosam.matching.candidates.Candidates`, each with its similarity and its mask.
May import: instances, backends, and the modules at the package's root; no later step.
"""
