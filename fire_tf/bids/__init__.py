"""Datasets in the Brain Imaging Data Structure (bids-specification.readthedocs.io): read, and derivatives written."""
