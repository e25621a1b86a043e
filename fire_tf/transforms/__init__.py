"""Transforms in files, in the conventions of several tools, and images resampled with them."""
