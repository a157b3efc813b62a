"""Many tomograms in one run: a project file, workers, and tables over all results.

In: a project file that names tomograms, and queries or points.
Out: a folder of results per tomogram, and one table, page and particle file over all of them.
May import: all rooms but `ui` and `cli`; Parsl in `batch/cluster.py` only.
"""
