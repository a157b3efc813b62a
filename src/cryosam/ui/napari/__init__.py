"""A session in napari: clicks are a points layer, what is found are points and labels upon the image."""
