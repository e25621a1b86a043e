"""The 48 orders and directions in which a volume's axes may be stored."""

from itertools import permutations, product

import nibabel as nib
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

LETTERS = ("RL", "AP", "SI")
ORIENTATIONS = [
    "".join(letters[flip] for letters, flip in zip(order, flips, strict=True))
    for order in permutations(LETTERS)
    for flips in product((0, 1), repeat=3)
]


def stored_as(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    return image.as_reoriented(turn)
