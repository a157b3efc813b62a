"""Step 3 of the method: average particles, and find the pose of each relative to the average.

In: a normalised tomogram, points z, y, x in voxels, and the diameter of the particles.
Out: averages, correlations with them, poses (`averaging.orientations`), and refined poses (`averaging.refinement`).
May import: backends, and the nouns at the package's root. Which particles are of the kind is not decided here but in
`cryosam.classification`.
"""
