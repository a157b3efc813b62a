"""Many tomograms in one run: a project file, workers, and tables over all results.

In: a project file that names tomograms, and queries or points.
Out: a folder of results per tomogram, and one table, page and particle file over all of them.
May import: every other folder of the package except `ui` and `cli`. Only `batch/cluster.py` may import Parsl.
"""
