"""Scores of results against a known answer, and simulated tomograms with a known answer.

In: points and labels that were found, and the true ones; for a simulation, the kinds and the imaging conditions.
Out: scores (`cryosam.evaluation.scores`), or a tomogram with its answer (`cryosam.evaluation.simulation`).
May import: the modules at the package's root, and no stage of the method.
"""
