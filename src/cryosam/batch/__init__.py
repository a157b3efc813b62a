"""Many tomograms in one go: a project file, workers, and tables over all results."""
