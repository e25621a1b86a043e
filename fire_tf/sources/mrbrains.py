"""The brains of the challenges MRBrainS18 and MRBrainS13, in the layouts in which they are handed out.

    training/ID/pre/{reg_T1,reg_IR,FLAIR}.nii.gz, training/ID/segm.nii.gz      MRBrainS18, 7 training subjects
    ID/{T1,T1_IR,T2_FLAIR,LabelsForTraining}.nii (or .nii.gz)                  MRBrainS13, 5 training subjects

The paper mixes the two (section 3): ``data.root`` is a folder that holds both, or one of them, up to three
folders deep. Subjects are called MRBrainS18-ID and MRBrainS13-ID. The scans of a subject are co-registered
(0.958 x 0.958 x 3 mm) and not skull-stripped.

Labels of both: 1 cortical grey matter, 2 basal ganglia, 3 white matter, 4 white matter lesions, 5
cerebrospinal fluid, 6 ventricles, 7 cerebellum, 8 brain stem; MRBrainS18 also has 9 infarction and 10 other
(mrbrains18.isi.uu.nl/data, mrbrains13.isi.uu.nl/data). The paper's structures are 8 (BS), 7 (CE) and 3 (WM);
whether its WM includes the lesions it does not say. MRBrainS13's ``LabelsForTesting`` will not do: its 1, 2, 3
are cerebrospinal fluid, grey and white matter, without brain stem and cerebellum (the data's own readme).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fire_tf.config.schema import DataConfig
from fire_tf.files.errors import InputError
from fire_tf.sources.subjects import SubjectFiles, nifti_path, split_by_order, split_found

_FILES = {
    "MRBrainS18": {"T1": "pre/reg_T1", "IR": "pre/reg_IR", "FLAIR": "pre/FLAIR", "labels": "segm"},
    "MRBrainS13": {"T1": "T1", "IR": "T1_IR", "FLAIR": "T2_FLAIR", "labels": "LabelsForTraining"},
}
_DEPTH = 3  # folders between the root and a subject's: for example MRBrainS18/training/070


def find_subjects(config: DataConfig) -> dict[str, list[SubjectFiles]]:
    """The subjects of every split of the config, or, without one, of a split in the order of their names.

    Raises InputError, naming the folder, where the root holds no subject and where one is incomplete.
    """
    for key in ("modality_a", "modality_b"):
        if getattr(config, key) not in ("T1", "IR", "FLAIR"):
            raise InputError(
                f"data.{key}: expected T1, IR or FLAIR (source mrbrains), got {getattr(config, key)!r}"
            )
    root = Path(str(config.root)).absolute()
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (data.root)")
    found: dict[str, Path] = {}
    for name, folder in sorted(_folders(root)):
        if name in found:
            raise InputError(f"{folder}: is a second {name}, beside {found[name]}")
        found[name] = folder
    if not found:
        raise InputError(
            f"{root}: holds neither training/ID/pre/reg_T1.nii.gz of MRBrainS18 nor ID/T1_IR.nii of "
            f"MRBrainS13, not even {_DEPTH} folders deep (data.root)"
        )
    split = config.split if any(config.split.values()) else split_by_order(list(found), root)
    return {
        part: [_subject(name, folder, config) for name, folder in folders.items()]
        for part, folders in split_found(found, split, root).items()
    }


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of everything that looks like a subject, complete or not.

    The challenges' test subjects are passed over: those of MRBrainS18 lie outside of ``training``, those of
    MRBrainS13 have no LabelsForTraining and lie in a folder called TestData.
    """
    for depth in range(1, _DEPTH + 1):
        for folder in sorted(root.glob("/".join("*" * depth))):
            parent = folder.parent.name.lower()
            if any(part.startswith(".") for part in folder.relative_to(root).parts):
                continue
            if parent == "training" and ((folder / "pre").is_dir() or nifti_path(folder, "segm").is_file()):
                yield f"MRBrainS18-{folder.name}", folder
            elif not parent.startswith("test") and any(
                nifti_path(folder, name).is_file() for name in ("T1_IR", "T2_FLAIR", "LabelsForTraining")
            ):
                yield f"MRBrainS13-{folder.name}", folder


def _subject(name: str, folder: Path, config: DataConfig) -> SubjectFiles:
    challenge = name.split("-")[0]

    def file(kind: str) -> Path:
        path = nifti_path(folder, _FILES[challenge][kind])
        if path.is_file():
            return path
        hint = ""
        if kind == "labels" and nifti_path(folder, "LabelsForTesting").is_file():
            hint = " (LabelsForTesting cannot stand in: it has neither brain stem nor cerebellum)"
        raise InputError(f"{path}: no such file, {name} is incomplete{hint}")

    return SubjectFiles(name, file(config.modality_a), file(config.modality_b), file("labels"))
