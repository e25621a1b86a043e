"""Cine MR of the heart: the Automated Cardiac Diagnosis Challenge (ACDC, MICCAI 2017), in its own layout.

    patientXXX/Info.cfg                      lines "ED: 1", "ES: 12" (frame numbers from 1), "Group: DCM", ...
    patientXXX/patientXXX_4d.nii.gz          every phase of the beat (x, y, slice, phase)
    patientXXX/patientXXX_frameNN.nii.gz     end-diastole (ED) and end-systole (ES), cut out of it
    patientXXX/patientXXX_frameNN_gt.nii.gz  their labels

``data.root`` is the folder that holds the patients, or one of those above it. Labels: 1 right ventricular
cavity, 2 left ventricular myocardium, 3 left ventricular cavity, whose border is the endocardium
(www.creatis.insa-lyon.fr/Challenge/acdc/evaluation.html).

Training takes every phase of a patient, ED and ES alone where there is no 4D file; validation and test take
ED and ES, as the paper does (section 3). Slices are 5 to 10 mm thick, a pixel is 1.4 to 1.9 mm: a 2D canvas
takes the slices as they are, and on a 3D one of such a spacing the networks do not downsample along them
(`fire_tf.model.build`).

O. Bernard, A. Lalande, C. Zotti, F. Cervenansky et al. "Deep Learning Techniques for Automatic MRI Cardiac
Multi-structures Segmentation and Diagnosis: Is the Problem Solved?" IEEE TMI 37(11), 2018.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from fire_tf.config.schema import DataConfig
from fire_tf.files.errors import InputError
from fire_tf.files.tables import read_text
from fire_tf.sources.subjects import SubjectFiles, check_count, split_found

_TRAIN, _VALIDATE = 0.4, 0.1  # of each group: the paper's 40 and 10 of 100 patients; the rest tests


def find_subjects(config: DataConfig) -> dict[str, list[SubjectFiles]]:
    """The patients of every split of the config, or, without one, of `split_by_group`.

    Raises InputError, naming the file, for what is missing in a patient that is used.
    """
    for key in ("modality_a", "modality_b"):
        if getattr(config, key) not in ("ED", "ES"):
            raise InputError(f"data.{key}: expected ED or ES (source acdc), got {getattr(config, key)!r}")
    root = Path(str(config.root))
    found = _patients(root)
    split = config.split
    if not any(split.values()):
        check_count(list(found), root)
        split = split_by_group({name: read_info(folder).get("Group", "") for name, folder in found.items()})
    return {
        part: [_patient(folder, config, every_phase=part == "train") for folder in folders.values()]
        for part, folders in split_found(found, split, root).items()
    }


def split_by_group(groups: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """A fixed split of patients, given with their groups, that has the same shares of every group.

    In the order of their names, the first 40 % of a group train, the next 10 % (at least one) validate, the
    rest test: 40, 10 and 50 of ACDC's 100 training patients. The paper does not say which were its own.
    """
    members = defaultdict(list)
    for name in sorted(groups):
        members[groups[name]].append(name)
    split: dict[str, list[str]] = {"train": [], "validate": [], "test": []}
    for names in members.values():
        train = round(_TRAIN * len(names))
        validate = train + max(1, round(_VALIDATE * len(names)))
        split["train"] += names[:train]
        split["validate"] += names[train:validate]
        split["test"] += names[validate:]
    return {part: tuple(sorted(names)) for part, names in split.items()}


def read_info(folder: Path) -> dict[str, str]:
    """The entries of a patient's ``Info.cfg``, as text."""
    path = folder / "Info.cfg"
    if not path.is_file():
        raise InputError(f"{path}: no such file; it says which frames are ED and ES")
    entries = (line.partition(":") for line in read_text(path).splitlines())
    return {key.strip(): value.strip() for key, colon, value in entries if colon}


def _patients(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (data.root)")
    for folder in (root, root / "training", root / "database" / "training"):
        found = {path.name: path for path in sorted(folder.glob("patient[0-9]*")) if path.is_dir()}
        if found:
            return found
    raise InputError(f"{root}: no folder patientXXX in it, in training or in database/training (data.root)")


def _patient(folder: Path, config: DataConfig, *, every_phase: bool) -> SubjectFiles:
    info = read_info(folder)

    def file(phase: str, ending: str = "") -> Path:
        number = info.get(phase, "")
        if not number.isdecimal():
            raise InputError(f"{folder / 'Info.cfg'}: has no frame number for {phase}")
        path = folder / f"{folder.name}_frame{int(number):02d}{ending}.nii.gz"
        if not path.is_file():
            raise InputError(f"{path}: no such file, but Info.cfg says that frame {number} is {phase}")
        return path

    beat = folder / f"{folder.name}_4d.nii.gz"
    return SubjectFiles(
        folder.name,
        file(config.modality_a),
        file(config.modality_b),
        own_labels=(file(config.modality_a, "_gt"), file(config.modality_b, "_gt")),
        phases=beat if every_phase and beat.is_file() else None,
    )
