"""One click on one particle: every particle of that kind in a tomogram, found and segmented in 3D."""
