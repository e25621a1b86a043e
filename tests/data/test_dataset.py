"""Subjects, their cache and the tf.data pipeline."""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf
from balls import COMMON, DEFORMATION, assert_same, balls, elements, volumes, write_subject

from fire_tf.compat.voxelmorph import vxm
from fire_tf.config.schema import DataConfig, DeformationConfig, ShadingConfig
from fire_tf.data import cache
from fire_tf.data.dataset import build_dataset, load_subjects
from fire_tf.files.errors import InputError


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    return balls(tmp_path)


def test_samples_are_the_slices_that_hold_tissue(config: DataConfig) -> None:
    samples = load_subjects(config, "train")
    assert {sample.subject for sample in samples} == {"s0", "s1"}
    assert 4 <= len(samples) // 2 < 10  # the ends of the ball are too small
    sample = samples[len(samples) // 4]
    assert sample.labels is not None
    assert sample.name.startswith("s0_z")
    assert sample.a.shape == sample.b.shape == sample.labels.shape == (32, 32)
    assert (sample.a.min(), sample.a.max(), sample.spacing) == (-1, 1, (2.0, 2.0))
    assert set(np.unique(sample.labels)) == {0, 1, 2}
    assert len(load_subjects(replace(config, min_tissue=0.0), "test")) == 10


def test_volumes_are_one_sample_each(config: DataConfig) -> None:
    (sample,) = load_subjects(volumes(config), "test")
    assert (sample.name, sample.a.shape, sample.spacing) == ("s2", (32, 32, 16), (2.0, 2.0, 2.0))


@pytest.mark.parametrize("solid", [False, True])
def test_elements_have_the_promised_shapes(config: DataConfig, solid: bool) -> None:
    settings = volumes(config) if solid else config
    canvas, n = settings.canvas, settings.ndim
    batch = next(
        iter(
            build_dataset(
                settings, DEFORMATION, COMMON, split="train", batch_size=2, moving="a", seed=1, repeat=True
            )
        )
    )
    expected = {
        "a": (2, *canvas, 1),
        "b": (2, *canvas, 1),
        "displacement": (2, *canvas, n),
        "affine": (2, n, n + 1),
        "moves_a": (2,),
    }
    assert {name: tuple(value.shape) for name, value in batch.items()} == expected
    assert all(value.dtype == tf.float32 for value in batch.values())
    assert np.all(batch["moves_a"] == 1)


@pytest.mark.parametrize("solid", [False, True])
def test_the_other_image_warped_by_the_displacement_is_aligned(config: DataConfig, solid: bool) -> None:
    """With one contrast in both images, warping the undeformed one must give the deformed one."""
    settings = replace(volumes(config) if solid else config, modality_b="T1")
    for element in elements(settings, 6):
        moved, other = (element["a"], element["b"]) if element["moves_a"] else (element["b"], element["a"])
        warped = vxm.utils.transform(
            tf.constant(other), tf.constant(element["displacement"]), fill_value=-1.0
        ).numpy()
        before, after = np.abs(moved - other).mean(), np.abs(moved - warped).mean()
        assert after < min(0.02, before / 4)  # what is left is that `warped` was interpolated twice


@pytest.mark.parametrize("moving", ["a", "b"])
def test_without_the_common_transform_only_one_image_changes(config: DataConfig, moving: str) -> None:
    stock = [getattr(sample, "b" if moving == "a" else "a") for sample in load_subjects(config, "train")]
    for element in elements(config, 4, common=None, moving=moving):
        still = element["b" if moving == "a" else "a"][..., 0]
        assert any(np.array_equal(still, image) for image in stock)
        assert element["moves_a"] == (moving == "a")


def test_without_a_deformation_the_pair_is_aligned_and_the_displacement_zero(config: DataConfig) -> None:
    for element in elements(replace(config, modality_b="T1"), 4, deformation=None):
        np.testing.assert_array_equal(element["a"], element["b"])
        assert not np.any(element["displacement"])
        np.testing.assert_array_equal(element["affine"], np.eye(2, 3))


def test_elements_depend_on_seed_and_number_alone(config: DataConfig) -> None:
    first, again, later = elements(config, 6), elements(config, 6), elements(config, 3, start=3)
    for one, other in zip(first, again, strict=True):
        assert_same(one, other)
    for one, other in zip(first[3:], later, strict=True):
        assert_same(one, other)
    assert not np.array_equal(first[0]["displacement"], elements(config, 1, seed=4)[0]["displacement"])
    assert {float(element["moves_a"]) for element in elements(config, 12)} == {0.0, 1.0}


def test_an_epoch_holds_every_sample_once_and_the_next_one_in_another_order(config: DataConfig) -> None:
    samples = [sample.a for sample in load_subjects(config, "train")]
    count = len(samples)
    drawn = elements(config, 2 * count, deformation=None, common=None)
    order = [
        next(i for i, a in enumerate(samples) if np.array_equal(a, element["a"][..., 0])) for element in drawn
    ]
    assert sorted(order[:count]) == sorted(order[count:]) == list(range(count))
    assert order[:count] != order[count:]
    assert len(elements(config, 1000, repeat=False)) == count


def test_the_object_stays_on_the_canvas(config: DataConfig) -> None:
    far = replace(DEFORMATION, translation=(0.4, 0.5))
    for element in elements(config, 10, deformation=far, common=replace(COMMON, peak=(0.0, 0.0))):
        for name in ("a", "b"):
            image = element[name][..., 0]
            assert (
                max(image[0].max(), image[-1].max(), image[:, 0].max(), image[:, -1].max()) < -0.5
            )  # a fringe


def test_mirrored_draws_are_the_stored_images_turned_round(config: DataConfig) -> None:
    still = {"deformation": None, "common": None}
    seen = set()
    for plain, drawn in zip(
        elements(config, 12, **still), elements(config, 12, mirror=(0,), **still), strict=True
    ):
        turned = not np.array_equal(plain["a"], drawn["a"])
        seen.add(turned)
        for name in "ab":
            np.testing.assert_array_equal(drawn[name], plain[name][::-1] if turned else plain[name])
    assert seen == {True, False}


def test_the_mirrored_object_stays_on_the_canvas(config: DataConfig, tmp_path: Path) -> None:
    for name in ("T1", "FLAIR"):  # lopsided, so that the extent of the mirrored object differs
        path = tmp_path / "images" / "s0" / f"{name}.nii.gz"
        half = nib.load(path).get_fdata()
        half[10:] = 0
        nib.Nifti1Image(half.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(path)
    far = DeformationConfig(translation=(1.0, 1.0))
    one = replace(config, split={"train": ("s0",), "test": ("s2",)})
    still = elements(one, 16, deformation=None, common=None)
    for stored, shifted in zip(
        still, elements(one, 16, deformation=far, common=None, mirror=(0, 1)), strict=True
    ):
        for name in "ab":
            np.testing.assert_allclose((shifted[name] + 1).sum(), (stored[name] + 1).sum(), rtol=0.05)


def test_bad_arguments_are_refused(config: DataConfig) -> None:
    with pytest.raises(ValueError, match="moving must be"):
        elements(config, 1, moving="both")
    with pytest.raises(ValueError, match="batch_size"):
        elements(config, 1, batch_size=0)
    with pytest.raises(ValueError, match="split must be"):
        load_subjects(config, "validation")


def test_the_cache_is_read_until_an_input_or_a_setting_changes(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    prepare = cache._prepare

    def count(config: DataConfig, files: cache.SubjectFiles) -> dict[str, np.ndarray]:
        made.append(files.subject)
        return prepare(config, files)

    monkeypatch.setattr(cache, "_prepare", count)
    before = load_subjects(config, "train")
    after = load_subjects(config, "train")
    assert made == ["s0", "s1"]
    np.testing.assert_array_equal(before[0].a, after[0].a)
    path = Path(config.root or "") / "s1" / "T1.nii.gz"
    os.utime(path, ns=(1, 1))
    load_subjects(config, "train")
    assert made == ["s0", "s1", "s1"]
    load_subjects(replace(config, percentile=90.0), "train")
    assert made == ["s0", "s1", "s1", "s0", "s1"]
    names = sorted(file.name for file in Path(config.cache).iterdir())
    assert len([name for name in names if not name.startswith(".")]) == len(names) == 4


def test_an_interrupted_cache_leaves_nothing_that_looks_finished(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, **arrays: np.ndarray) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(KeyboardInterrupt):
        load_subjects(config, "train")
    assert not Path(config.cache).exists()


def test_a_copy_that_another_process_has_finished_is_never_taken_away(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, write_file = cache._prepare, cache.write_file
    there: list[bool] = []

    def overtaken(config: DataConfig, files: cache.SubjectFiles) -> dict[str, np.ndarray]:
        monkeypatch.setattr(cache, "_prepare", prepare)
        cache.load_subject(config, files)  # the other process, from beginning to end
        return prepare(config, files)

    def watched(path: Path, write: Any) -> None:
        there.append(path.is_file())
        write_file(path, write)

    monkeypatch.setattr(cache, "_prepare", overtaken)
    monkeypatch.setattr(cache, "write_file", watched)
    cache.load_subject(config, cache.find_subjects(config)["train"][0])
    assert there == [False, True]
    assert len(list(Path(config.cache).iterdir())) == 1


@pytest.mark.parametrize("named", [".hdr", ".img"])
def test_new_voxels_beside_an_old_header_are_noticed(config: DataConfig, named: str) -> None:
    folder = Path(config.root or "") / "s2"
    for kind in ("T1", "FLAIR"):
        image = nib.load(folder / f"{kind}.nii.gz")
        nib.Nifti1Pair(np.asarray(image.dataobj), image.affine).to_filename(folder / f"{kind}.img")
    rows = [{"subject": "p", "split": "test", "T1": f"s2/T1{named}", "FLAIR": f"s2/FLAIR{named}"}]
    listed = replace(from_manifest(config, rows), labels=None)
    before = load_subjects(listed, "test")
    data = np.ascontiguousarray(np.asarray(nib.load(folder / "T1.img").dataobj)[::-1])
    (folder / "T1.img").write_bytes(data.tobytes(order="F"))
    os.utime(folder / "T1.img", ns=(5, 5))
    for one, other in zip(load_subjects(listed, "test"), before, strict=True):
        np.testing.assert_array_equal(one.a, other.a[::-1])
        np.testing.assert_array_equal(one.b, other.b)


def test_configs_that_share_a_cache_and_names_leave_each_others_copies(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another modality of the same subjects, and another data set whose subjects have the same names."""
    for index in range(3):
        write_subject(tmp_path / "others" / f"s{index}", 5 + index)
    turned, other = replace(config, modality_a="FLAIR"), replace(config, root=str(tmp_path / "others"))
    found = [load_subjects(each, "train") for each in (config, turned, other)]
    monkeypatch.setattr(cache, "_prepare", lambda *_: pytest.fail("a copy was lost"))
    for each, before in zip((config, turned, other), found, strict=True):
        for one, again in zip(load_subjects(each, "train"), before, strict=True):
            np.testing.assert_array_equal(one.a, again.a)
    assert np.abs(found[0][0].a - found[1][0].a).max() > 0.1


def test_a_copy_that_is_damaged_or_taken_away_is_made_anew(config: DataConfig) -> None:
    before = load_subjects(config, "test")
    (copy,) = Path(config.cache).iterdir()
    whole = copy.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"text"):
        copy.write_bytes(damage)
        for one, other in zip(load_subjects(config, "test"), before, strict=True):
            np.testing.assert_array_equal(one.a, other.a)
        assert copy.read_bytes() == whole


def test_what_changes_while_it_is_read_is_not_kept(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = cache._prepare

    def slow(config: DataConfig, files: cache.SubjectFiles) -> dict[str, np.ndarray]:
        arrays = prepare(config, files)
        os.utime(files.b, ns=(7, 7))
        return arrays

    monkeypatch.setattr(cache, "_prepare", slow)
    with pytest.raises(InputError, match=r"T1\.nii\.gz: it, or a file that belongs to it, changed while"):
        load_subjects(config, "test")
    assert not Path(config.cache).exists()


SHARED = """
import sys
from fire_tf.config.schema import DataConfig
from fire_tf.data.cache import load_split
for turn in range(6):
    for a in sys.argv[3:]:
        config = DataConfig(source="folders", root=sys.argv[1], modality_a=a, split={"train": ("s0", "s1")},
                            spacing=(2.0,), canvas=(32,), cache=sys.argv[2])
        assert len(load_split(config, "train")) == 2
    import os; os.utime(f"{sys.argv[1]}/s0/T1.nii.gz")
"""


def test_processes_share_a_cache(config: DataConfig) -> None:
    """While one of them touches an image, so that copies are made and taken away all the time."""
    command = [sys.executable, "-c", SHARED, str(config.root), config.cache]
    processes = [
        subprocess.Popen([*command, *order], stderr=subprocess.PIPE, text=True)
        for order in (("T1", "FLAIR"), ("FLAIR", "T1"))
    ]
    for process in processes:
        said = process.communicate()[1]
        assert process.returncode == 0 or "changed while it was read" in said, said
    names = [path.name for path in Path(config.cache).iterdir()]
    assert not [name for name in names if name.startswith(".")]


def test_a_cache_that_cannot_be_made_is_named_before_an_image_is_read(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr(cache, "_prepare", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(InputError, match=r"taken: cannot be written to \(.* is not a folder\)"):
        load_subjects(replace(config, cache=str(tmp_path / "taken")), "train")


@pytest.mark.parametrize("on", ["T1", "FLAIR"])
def test_labels_lie_on_the_grid_of_either_image(config: DataConfig, on: str) -> None:
    """The second image on another grid than the first, and the labels with one of them; shifted they are refused."""
    folder = Path(config.root or "") / "s2"
    expected = load_subjects(config, "test")
    for kind in ("FLAIR", "seg") if on == "FLAIR" else ("FLAIR",):
        image = nib.load(folder / f"{kind}.nii.gz")
        affine = image.affine.copy()
        affine[:3, 3] -= 4  # two voxels
        data = np.pad(np.asarray(image.dataobj), [(2, 2)] * 3)
        nib.Nifti1Image(data, affine).to_filename(folder / f"{kind}.nii.gz")
    for one, other in zip(load_subjects(config, "test"), expected, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
    image = nib.load(folder / "seg.nii.gz")
    for off, refused in ((0.1, False), (0.5, True)):  # mm, of voxels of 2 mm
        affine = image.affine.copy()
        affine[1, 3] += off
        nib.Nifti1Image(np.asarray(image.dataobj), affine).to_filename(folder / "seg.nii.gz")
        if refused:
            with pytest.raises(InputError, match=r"seg\.nii\.gz: (lies on another grid|has shape)"):
                load_subjects(config, "test")
        else:
            load_subjects(config, "test")


def test_folders_without_images_are_no_subjects(config: DataConfig) -> None:
    root = Path(config.root or "")
    for name in ("derivatives/s0", ".git/objects", "code", "a_log"):
        (root / name).mkdir(parents=True)
    (root / "README").write_text("")
    (root / "participants.tsv").write_text("")
    write_subject(root / ".trash", 1)
    unsplit = replace(config, split={})
    found = {split: [s.subject for s in cache.find_subjects(unsplit)[split]] for split in cache.SPLITS}
    assert found == {"train": ["s0"], "validate": ["s1"], "test": ["s2"]}
    (root / "s1" / "T1.nii.gz").unlink()
    with pytest.raises(InputError, match=r"s1/T1\.nii\.gz: no such file"):  # incomplete, and not passed over
        load_subjects(unsplit, "validate")
    with pytest.raises(InputError, match=r"derivatives: holds no folder with T1\.nii\.gz or FLAIR"):
        load_subjects(replace(unsplit, root=str(root / "derivatives")), "train")


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_subjects_are_told_how_many_are_needed(config: DataConfig, count: int) -> None:
    for index in range(count, 3):
        shutil.rmtree(Path(config.root or "") / f"s{index}")
    with pytest.raises(
        InputError, match=rf"images: holds {count} of the 3 subjects that are needed at least"
    ):
        load_subjects(replace(config, split={}), "train")


def write_manifest(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def manifest_rows() -> list[dict[str, str]]:
    splits = ("train", "train", "test")
    files = (
        {"T1": f"s{i}/T1.nii.gz", "FLAIR": f"s{i}/FLAIR.nii.gz", "seg": f"s{i}/seg.nii.gz"} for i in range(3)
    )
    return [{"subject": f"p{i}", **file, "split": splits[i]} for i, file in enumerate(files)]


def from_manifest(config: DataConfig, rows: list[dict[str, str]]) -> DataConfig:
    path = Path(config.root or "") / "pairs.csv"
    write_manifest(path, rows)
    return replace(config, source="manifest", manifest=str(path), root=None, split={})


def test_a_manifest_gives_the_samples_that_the_folders_give(config: DataConfig) -> None:
    listed = load_subjects(from_manifest(config, manifest_rows()), "test")
    for one, other in zip(listed, load_subjects(config, "test"), strict=True):
        assert one.subject == "p2"
        np.testing.assert_array_equal(one.b, other.b)
        assert one.labels is not None
        assert other.labels is not None
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"split": "tests"}, r"pairs\.csv: line 2: split is 'tests'"),
        ({"T1": ""}, r"pairs\.csv: line 2 has nothing in column T1"),
        ({"T1": "nowhere.nii"}, r"nowhere\.nii: no such file"),
        ({"subject": "p1"}, r"subject 'p1' stands in more than one line"),
    ],
)
def test_mistakes_in_a_manifest_are_named(config: DataConfig, change: dict[str, str], cause: str) -> None:
    rows = manifest_rows()
    rows[0] |= change
    with pytest.raises(InputError, match=cause):
        load_subjects(from_manifest(config, rows), "train")


def test_a_manifest_is_read_as_a_spreadsheet_saves_it(config: DataConfig) -> None:
    listed = from_manifest(config, manifest_rows())
    path = Path(listed.manifest or "")
    text = path.read_text().replace("p2", "Müller") + ",,,,\n"
    path.write_bytes(text.replace(",", ";").encode("utf-8-sig"))
    assert {sample.subject for sample in load_subjects(listed, "test")} == {"Müller"}
    for encoding, cause in (("latin-1", "byte 0xfc in line 4 is not UTF-8"), ("utf-16", "in UTF-16")):
        path.write_bytes(text.encode(encoding))
        with pytest.raises(InputError, match=rf"pairs\.csv: cannot be read: .*{cause}"):
            load_subjects(listed, "test")


def test_a_manifest_without_a_column_is_named(config: DataConfig) -> None:
    rows = [{name: value for name, value in row.items() if name != "FLAIR"} for row in manifest_rows()]
    with pytest.raises(InputError, match=r"pairs\.csv: has no column FLAIR"):
        load_subjects(from_manifest(config, rows), "train")


def test_missing_folders_and_empty_splits_are_named(config: DataConfig) -> None:
    with pytest.raises(InputError, match=r"no such folder \(data\.root\)"):
        load_subjects(replace(config, root="nowhere"), "train")
    with pytest.raises(InputError, match=r"s9: no such folder"):
        load_subjects(replace(config, split={"train": ("s9",)}), "train")
    with pytest.raises(InputError, match=r"split 'validate' holds no subject"):
        load_subjects(config, "validate")
    with pytest.raises(InputError, match=r"min_tissue"):
        load_subjects(replace(config, min_tissue=0.9), "train")


def test_images_that_do_not_overlap_are_refused(config: DataConfig) -> None:
    path = Path(config.root or "") / "s0" / "FLAIR.nii.gz"
    image = nib.nifti1.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 500
    nib.Nifti1Image(np.asarray(image.dataobj), affine).to_filename(path)
    with pytest.raises(InputError, match=r"FLAIR\.nii\.gz: nothing of it lies where"):
        load_subjects(config, "train")


def test_the_second_image_and_the_labels_follow_the_first_into_its_grid(config: DataConfig) -> None:
    """The same anatomy on a finer, flipped grid must land on the same voxels."""
    folder = Path(config.root or "") / "s2"
    expected = load_subjects(config, "test")
    image = nib.load(folder / "FLAIR.nii.gz")
    flipped = nib.as_closest_canonical(image).as_reoriented([[1, -1], [0, 1], [2, -1]])
    nib.Nifti1Image(np.asarray(flipped.dataobj), flipped.affine).to_filename(folder / "FLAIR.nii.gz")
    for one, other in zip(load_subjects(config, "test"), expected, strict=True):
        np.testing.assert_array_equal(one.b, other.b)


def test_generated_subjects_are_split_in_order_without_a_list(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write(root: Path, subjects: int, **_: Any) -> None:
        written.append(root)
        for index in range(subjects):
            write_subject(root / f"sub-{index:02d}", index)

    monkeypatch.setattr("fire_tf.phantom.heads.write_phantom", write)
    phantom = replace(config, source="phantom", root=None, split={}, phantom_subjects=5)
    found = {split: {sample.subject for sample in load_subjects(phantom, split)} for split in cache.SPLITS}
    assert found == {"train": {"sub-00", "sub-01", "sub-02"}, "validate": {"sub-03"}, "test": {"sub-04"}}
    assert len(written) == 1


def test_heads_that_another_process_has_generated_meanwhile_are_taken(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(root: Path, subjects: int, **_: Any) -> None:
        for index in range(subjects):
            write_subject(root / f"sub-{index:02d}", index)
        raise InputError(f"{root}: cannot be written to (Directory not empty)")

    monkeypatch.setattr("fire_tf.phantom.heads.write_phantom", overtaken)
    phantom = replace(config, source="phantom", root=None, split={}, phantom_subjects=3)
    assert {sample.subject for sample in load_subjects(phantom, "test")} == {"sub-02"}


def test_shading_adds_two_images_and_leaves_all_else_as_it_is(config):
    ranges = ShadingConfig(strength=(0.3, 0.3), gamma=(0.8, 1.25))
    for plain, shaded in zip(elements(config, 2), elements(config, 2, shading=ranges), strict=True):
        assert set(shaded) - set(plain) == {"shaded_a", "shaded_b"}
        for name, value in plain.items():
            np.testing.assert_array_equal(shaded[name], value)
        for name in "ab":
            dark = plain[name] == -1
            assert np.all(shaded[f"shaded_{name}"][dark] == -1)
            assert np.abs(shaded[f"shaded_{name}"] - plain[name])[~dark].mean() > 0.02
