"""Step 1 of the method: a click becomes one object in 3D (DESIGN 1.1).

In: a normalised tomogram, points z, y, x in voxels, and a segmenter that answers prompts in 2D.
Out: an `cryosam.masks.InstanceMask` for each point, and for clicks how far it can be trusted (`instances.prompted`).
May import: backends, and the nouns at the package's root; no other step.
"""
