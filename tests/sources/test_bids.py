"""Subjects to train on from a BIDS dataset: splits, sessions, label maps."""

from dataclasses import replace
from pathlib import Path

import pytest

from fire_tf.config.loading import load_config
from fire_tf.config.schema import DataConfig
from fire_tf.files.doubts import collected
from fire_tf.files.errors import InputError
from fire_tf.sources.find import find_subjects


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Participants 1 to 4, of which 2 has two sessions and 4 no FLAIR; all but 3 have label maps of T1w."""
    (tmp_path / "dataset_description.json").write_text("{}")
    for number in (1, 3, 4):
        touch(tmp_path, f"sub-{number}/anat/sub-{number}_T1w")
    touch(tmp_path, *(f"sub-{number}/anat/sub-{number}_FLAIR" for number in (1, 3)))
    for session in "ab":
        stem = f"sub-2/ses-{session}/anat/sub-2_ses-{session}"
        touch(tmp_path, f"{stem}_T1w", f"{stem}_FLAIR", f"{stem}_space-T1w_dseg")
    touch(tmp_path, "sub-1/anat/sub-1_space-T1w_dseg")
    return tmp_path


@pytest.fixture
def config(root: Path) -> DataConfig:
    data = load_config("demo").data
    return replace(data, source="bids", root=root, modality_a="T1w", labels=None)


def found(config: DataConfig) -> dict[str, list[str]]:
    with collected():
        return {
            part: [files.subject for files in subjects] for part, subjects in find_subjects(config).items()
        }


def test_participants_tsv_splits_and_sessions_stay_together(root: Path, config: DataConfig) -> None:
    (root / "participants.tsv").write_text(
        "participant_id\tage\tsplit\nsub-1\t40\tvalidate\nsub-2\t50\ttrain\nsub-3\t60\tn/a\nsub-4\t70\ttest\n"
    )
    with collected() as doubts:
        subjects = find_subjects(config)
    assert doubts == [f"{root}/sub-4/anat: sub-4_T1w.nii.gz left out, it holds no FLAIR for it"]
    assert {part: [files.subject for files in one] for part, one in subjects.items()} == {
        "train": ["sub-2_ses-a", "sub-2_ses-b"],
        "validate": ["sub-1"],
        "test": [],
    }
    first = subjects["train"][0]
    assert first.a == root / "sub-2/ses-a/anat/sub-2_ses-a_T1w.nii.gz"
    assert first.b == root / "sub-2/ses-a/anat/sub-2_ses-a_FLAIR.nii.gz"


def test_a_split_of_the_config_counts_before_the_table(root: Path, config: DataConfig) -> None:
    (root / "participants.tsv").write_text("participant_id\tsplit\nsub-1\ttest\n")
    split = {"train": ("1", "sub-2"), "test": ("3",)}
    assert found(replace(config, split=split)) == {
        "train": ["sub-1", "sub-2_ses-a", "sub-2_ses-b"],
        "validate": [],
        "test": ["sub-3"],
    }
    with pytest.raises(InputError, match="holds no subject 'sub-4', which is in"):
        found(replace(config, split={"train": ("4",)}))


def test_without_a_split_participants_are_taken_in_order(root: Path, config: DataConfig) -> None:
    (root / "participants.tsv").write_text("participant_id\tage\nsub-1\t40\n")
    assert found(config) == {
        "train": ["sub-1"],
        "validate": ["sub-2_ses-a", "sub-2_ses-b"],
        "test": ["sub-3"],
    }


def test_a_split_that_is_none(root: Path, config: DataConfig) -> None:
    (root / "participants.tsv").write_text("participant_id\tsplit\nsub-1\ttraining\n")
    with pytest.raises(InputError, match=r"participants\.tsv: line 2: split is 'training'"):
        found(config)


def test_label_maps(root: Path, config: DataConfig) -> None:
    unaligned = replace(config, pairing="unaligned", labels_a="space-T1w_dseg")
    with collected():
        maps = {
            files.subject: files.own_labels for part in find_subjects(unaligned).values() for files in part
        }
    assert maps["sub-1"] == (root / "sub-1/anat/sub-1_space-T1w_dseg.nii.gz", None)
    assert maps["sub-2_ses-b"] == (root / "sub-2/ses-b/anat/sub-2_ses-b_space-T1w_dseg.nii.gz", None)
    assert maps["sub-3"] == (None, None)
    with pytest.raises(
        InputError, match=r"sub-3_T1w\.nii\.gz: has no space-T1w_dseg beside it \(data\.labels\)"
    ):
        found(replace(config, labels="space-T1w_dseg"))


@pytest.mark.parametrize("change", [{"modality_b": "FLAIR.nii"}, {"labels": "sub-1_dseg"}])
def test_keys_that_name_no_suffix(config: DataConfig, change: dict[str, str]) -> None:
    with pytest.raises(InputError, match=f"data.{next(iter(change))}: .* expected a suffix of BIDS"):
        found(replace(config, **change))
