"""Step 1 of the method: a click becomes one object in 3D.

In: a normalised tomogram, points z, y, x in voxels, and a promptable 2D segmenter.
Out: a `cryosam.masks.InstanceMask` for each point and, for clicks, whether it can be trusted (`instances.prompted`).
May import: backends, and the modules at the package's root; no other step.
"""
