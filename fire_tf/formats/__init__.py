"""Images in other formats than NIfTI, through SimpleITK, as images of nibabel."""
