"""How good an answer is, and tomograms with a known answer to tell.

In: points and labels that were found, and those that are known; for a simulation, the kinds and the imaging.
Out: scores (`cryosam.evaluation.scores`), or a tomogram and its answer (`cryosam.evaluation.simulation`).
May import: the nouns at the package's root, and no stage of the method.
"""
