"""Register two files with ANTs, as a script of one's own would: affine, then SyN, and write what `register` writes.

    python benchmarks/ants_pair.py SETTINGS.json M.nii.gz F.nii.gz P_

SETTINGS.json holds what ``ants.registration`` is told of the affine and of SyN (`against_ants.py` writes it). Imports
antspyx alone.
"""

import json
import sys
from pathlib import Path

import ants


def main(settings: str, moving_file: str, fixed_file: str, prefix: str) -> None:
    # ants.registration looks for tuples where JSON has lists.
    affine, syn = (
        {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
        for told in json.loads(Path(settings).read_text())
    )
    moving, fixed = ants.image_read(moving_file), ants.image_read(fixed_file)
    start = None  # the centres of mass on each other, as ANTs does by itself
    for kind in ("Rigid", "Similarity", "Affine"):
        found = ants.registration(
            fixed, moving, kind, initial_transform=start, outprefix=f"{prefix}{kind}_", **affine
        )
        start = [found["fwdtransforms"][0]]
    found = ants.registration(
        fixed, moving, "SyNOnly", initial_transform=start, outprefix=f"{prefix}syn_", **syn
    )
    ants.image_write(found["warpedmovout"], f"{prefix}Warped.nii.gz")
    ants.image_write(found["warpedfixout"], f"{prefix}InverseWarped.nii.gz")
    ants.apply_transforms(fixed, moving, found["fwdtransforms"], compose=f"{prefix}Composite_")
    ants.apply_transforms(moving, fixed, found["invtransforms"], compose=f"{prefix}InverseComposite_")


if __name__ == "__main__":
    main(*sys.argv[1:])
