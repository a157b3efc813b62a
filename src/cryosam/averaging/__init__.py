"""Step 3 of the method: places become an average, and each place a pose relative to it.

In: a normalised tomogram, points z, y, x in voxels, and the diameter of the particles.
Out: averages, correlations with them, poses (`averaging.orientations`), and refined ones (`averaging.refinement`).
May import: backends, and the nouns at the package's root. It decides nothing: what is of the kind is told by
`cryosam.classification.classes`.
"""
