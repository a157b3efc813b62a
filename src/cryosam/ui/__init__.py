"""Interactive use: the state and logic of a session, and thin layers over it.

In: tomograms, and the actions of a user in the browser (`ui/server`) or in napari (`ui/napari`).
Out: masks, particles and files, computed by the functions of `cryosam.segmentation`.
May import: all folders except `batch` and `cli`. Web frameworks are imported only in `ui/server`, napari and Qt only in
`ui/napari`.
"""
