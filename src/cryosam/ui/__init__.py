"""Looking and clicking: a session's state and logic, and thin shells over it.

In: tomograms, and what a user does in the browser (`ui/server`) or in napari (`ui/napari`).
Out: masks, particles and files, through the functions of `cryosam.segmentation`.
May import: all rooms but `batch` and `cli`; web frameworks in `ui/server` only, napari and Qt in `ui/napari` only.
"""
