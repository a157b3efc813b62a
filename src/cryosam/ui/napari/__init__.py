"""A session in napari: clicks are a points layer; particles found are points and labels over the image."""
