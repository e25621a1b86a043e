"""MRBrainS18 and MRBrainS13, from generated trees in the layouts in which the challenges hand them out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import brain_like, labels_of

from fire_tf.config.loading import load_config
from fire_tf.config.schema import DataConfig
from fire_tf.data.dataset import load_subjects
from fire_tf.files.errors import InputError
from fire_tf.sources.find import find_subjects
from fire_tf.sources.subjects import SubjectFiles

SHAPE = (24, 24, 4)
AFFINE = np.diag([1.28, 1.28, 3.0, 1.0])
STRUCTURES = {8: "BS", 7: "CE", 3: "WM"}
ANATOMY = brain_like(SHAPE)
LABELS = np.array([0, 8, 7, 3], np.uint8)[labels_of(ANATOMY)]
CONTRASTS = {"T1": ANATOMY, "IR": ANATOMY**2 / 400, "FLAIR": np.where(ANATOMY > 0, 1000 - ANATOMY, 0)}


def write(path: Path, data: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, AFFINE).to_filename(path)


def write_mrbrains18(root: Path, ids: Sequence[str]) -> None:
    for folder in (root / "training" / name for name in ids):
        for name, contrast in (("reg_T1", "T1"), ("reg_IR", "IR"), ("FLAIR", "FLAIR")):
            write(folder / "pre" / f"{name}.nii.gz", CONTRASTS[contrast])
        write(folder / "orig" / "FLAIR.nii.gz", 2 * CONTRASTS["FLAIR"])
        write(folder / "segm.nii.gz", LABELS)


def write_mrbrains13(root: Path, ids: Sequence[str], ending: str = ".nii") -> None:
    merged = np.array([0, 0, 0, 3], np.uint8)[labels_of(ANATOMY)]  # white matter, without the other two
    for folder in (root / name for name in ids):
        for name, contrast in (("T1", "T1"), ("T1_1mm", "T1"), ("T1_IR", "IR"), ("T2_FLAIR", "FLAIR")):
            write(folder / f"{name}{ending}", CONTRASTS[contrast])
        write(folder / f"LabelsForTraining{ending}", LABELS)
        write(folder / f"LabelsForTesting{ending}", merged)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Both challenges, the second with its test data, which have no labels."""
    write_mrbrains18(tmp_path / "MRBrainS18", ["1", "070"])
    write_mrbrains13(tmp_path / "MRBrainS13" / "TrainingData", ["1", "2"])
    write(tmp_path / "MRBrainS13" / "TestData" / "1" / "T1_IR.nii", CONTRASTS["IR"])
    write(tmp_path / "MRBrainS18" / "test" / "2" / "pre" / "reg_T1.nii.gz", CONTRASTS["T1"])
    return tmp_path


@pytest.fixture
def config(root: Path) -> DataConfig:
    return DataConfig(
        source="mrbrains",
        root=str(root),
        structures=STRUCTURES,
        split={
            "train": ("MRBrainS18-1", "MRBrainS13-2"),
            "validate": ("MRBrainS13-1",),
            "test": ("MRBrainS18-070",),
        },
        spacing=(1.28,),
        canvas=(32,),
        cache=str(root / "cache"),
    )


def inside(root: Path, files: SubjectFiles) -> list[str]:
    paths = (files.a, files.b, files.labels)
    return [str(path.relative_to(root)) for path in paths if path is not None]


def test_both_challenges_are_found_by_their_own_names(root: Path, config: DataConfig) -> None:
    found = find_subjects(config)
    assert {part: [files.subject for files in subjects] for part, subjects in found.items()} == {
        "train": ["MRBrainS18-1", "MRBrainS13-2"],
        "validate": ["MRBrainS13-1"],
        "test": ["MRBrainS18-070"],
    }
    (eighteen, thirteen), folder = found["train"], "MRBrainS13/TrainingData/2"
    assert inside(root, eighteen) == [
        f"MRBrainS18/training/1/{name}.nii.gz" for name in ("pre/reg_T1", "pre/FLAIR", "segm")
    ]
    assert inside(root, thirteen) == [
        f"{folder}/{name}.nii" for name in ("T1", "T2_FLAIR", "LabelsForTraining")
    ]


def test_inversion_recovery_is_a_modality(root: Path, config: DataConfig) -> None:
    eighteen, thirteen = find_subjects(replace(config, modality_a="IR"))["train"]
    assert inside(root, eighteen)[0] == "MRBrainS18/training/1/pre/reg_IR.nii.gz"
    assert inside(root, thirteen)[0] == "MRBrainS13/TrainingData/2/T1_IR.nii"


@pytest.mark.parametrize("split", ["train", "validate"])
def test_samples_hold_the_images_and_the_three_structures(config: DataConfig, split: str) -> None:
    """A canvas of 32 holds the 24 x 24 voxels from its fifth voxel on; slices stay as they are."""
    samples = [sample for sample in load_subjects(config, split) if sample.subject.startswith("MRBrainS13")]
    slices = [int(sample.name[-3:]) for sample in samples]
    assert slices == [1, 2]  # the other two are empty
    for index, sample in zip(slices, samples, strict=True):
        assert sample.labels is not None
        np.testing.assert_array_equal(sample.labels[4:28, 4:28], LABELS[:, :, index])
        brain = LABELS[:, :, index] > 0
        assert np.corrcoef(sample.a[4:28, 4:28][brain], CONTRASTS["T1"][:, :, index][brain])[0, 1] > 0.99
        assert np.corrcoef(sample.b[4:28, 4:28][brain], CONTRASTS["FLAIR"][:, :, index][brain])[0, 1] > 0.99
    assert {int(value) for sample in samples for value in np.unique(sample.labels)} == {0, *STRUCTURES}


def test_compressed_files_will_do_and_a_single_challenge_too(tmp_path: Path, config: DataConfig) -> None:
    write_mrbrains13(tmp_path / "alone", [str(index) for index in range(1, 6)], ".nii.gz")
    found = find_subjects(replace(config, root=str(tmp_path / "alone"), split={}))
    assert [len(found[part]) for part in ("train", "validate", "test")] == [3, 1, 1]
    assert found["test"][0].a == tmp_path / "alone" / "5" / "T1.nii.gz"


@pytest.mark.parametrize("challenge", ["MRBrainS18", "MRBrainS18/training"])
def test_the_root_may_lie_deeper(root: Path, config: DataConfig, challenge: str) -> None:
    deeper = replace(config, root=str(root / challenge), split={"train": ("MRBrainS18-070",)})
    assert find_subjects(deeper)["train"][0].labels == root / "MRBrainS18/training/070/segm.nii.gz"


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (
            "MRBrainS18/training/1/pre/FLAIR.nii.gz",
            "training/1/pre/FLAIR.nii.gz: no such file, MRBrainS18-1 is",
        ),
        ("MRBrainS18/training/070/segm.nii.gz", "training/070/segm.nii.gz: no such file, MRBrainS18-070 is"),
        (
            "MRBrainS13/TrainingData/1/T1.nii",
            "TrainingData/1/T1.nii.gz: no such file, MRBrainS13-1 is incomplete",
        ),
        (
            "MRBrainS13/TrainingData/2/LabelsForTraining.nii",
            "LabelsForTraining.nii.gz: no such file, MRBrainS13-2 is incomplete (LabelsForTesting cannot stand in",
        ),
    ],
)
def test_what_is_missing_is_named(root: Path, config: DataConfig, missing: str, words: str) -> None:
    (root / missing).unlink()
    with pytest.raises(InputError) as error:
        find_subjects(config)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_the_data_is_refused(tmp_path: Path, config: DataConfig) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder \(data\.root\)"):
        find_subjects(replace(config, root=str(tmp_path / "nowhere")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty: holds neither training/ID/pre/reg_T1\.nii\.gz of MRBrainS18 nor"
    ):
        find_subjects(replace(config, root=str(tmp_path / "empty")))


def test_mistakes_in_the_config_are_named(config: DataConfig) -> None:
    with pytest.raises(InputError, match=r"no subject 'MRBrainS18-70', .* nearest found: MRBrainS18-070"):
        find_subjects(replace(config, split={"test": ("MRBrainS18-70",)}))
    with pytest.raises(InputError, match=r"data\.modality_b: expected T1, IR or FLAIR .*, got 'T2'"):
        find_subjects(replace(config, modality_b="T2"))
    with pytest.raises(ValueError, match="labels: source mrbrains knows its own"):
        replace(config, labels="segm")
    with pytest.raises(ValueError, match="root: missing, source mrbrains needs it"):
        replace(config, root=None)


def test_a_second_copy_of_a_subject_is_refused(root: Path, config: DataConfig) -> None:
    write_mrbrains13(root / "copy", ["2"])
    with pytest.raises(InputError, match=r"is a second MRBrainS13-2, beside"):
        find_subjects(config)


@pytest.mark.parametrize("name", ["mrbrains_t1_flair_2d", "mrbrains_t1_flair_3d", "mrbrains_ir_flair_2d"])
def test_the_shipped_configs_find_the_twelve_subjects(tmp_path: Path, name: str) -> None:
    """The training subjects' folders, as handed out: 8 train, 1 validates, 3 test."""
    write_mrbrains18(tmp_path / "18", ["1", "4", "5", "7", "14", "070", "148"])
    write_mrbrains13(tmp_path / "13", ["1", "2", "3", "4", "5"])
    config = load_config(name, [f"data.root={tmp_path}"]).data
    found = find_subjects(config)
    assert [len(found[part]) for part in ("train", "validate", "test")] == [8, 1, 3]
    assert len({files.subject for subjects in found.values() for files in subjects}) == 12
    assert config.structures == STRUCTURES
    assert set(config.spacing) == {1.28}
