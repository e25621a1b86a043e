"""Whatever a file holds, a command answers with one line and exit code 2; never a traceback, never a hang."""

import gzip
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel, brain_like
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fire_tf.model.storage
from fire_tf.apply import main as apply_main
from fire_tf.files.doubts import collected
from fire_tf.files.errors import InputError
from fire_tf.geometry.canvas import prepare
from fire_tf.geometry.images import read_image
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.register import main
from fire_tf.transforms.itk import read_affine, write_affine
from fire_tf.transforms.readers import read_transform

SIZE = (12, 14, 8)
HEADER = 348


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a good volume; the register command has a model without a network."""
    model = KnownModel(SIZE, (2.0,) * 3)
    monkeypatch.setattr(fire_tf.model.storage, "find_model", lambda folder: Path(folder))
    monkeypatch.setattr(fire_tf.model.storage, "load_model", lambda folder, compiled: model)
    nib.save(nib.Nifti1Image(brain_like(SIZE), np.diag([2.0, 2, 2, 1])), tmp_path / "good.nii.gz")
    return tmp_path


def fails(main, arguments: list[str], capsys) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


def _write(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> None:
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1]) if affine is None else affine), path)


def _bad(path: Path, what: str) -> None:
    data, affine = brain_like(SIZE), np.diag([2.0, 2, 2, 1])
    if what == "nan":
        data[3, 4, 5] = np.nan
    elif what == "infinite":
        data[3, 4, 5] = np.inf
    elif what == "constant":
        data[:] = 4
    elif what == "complex":
        data = data.astype(np.complex64)
    elif what == "rgb":
        data = np.zeros(SIZE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    elif what == "slice":
        data = data[..., 4]
    elif what == "4d":
        data = np.stack([data, data], axis=-1)
    elif what == "empty":
        data = np.zeros((4, 0, 3), np.float32)
    elif what == "tiny voxels":
        affine[:3, :3] *= 1e-7
    elif what == "overflow":
        data = data.astype(np.float64) * 1e300
    _write(path, data, affine)
    if what == "text":
        path.write_text("not an image")
    elif what == "truncated":
        path.write_bytes(path.read_bytes()[:900])
    elif what == "gone":
        path.unlink()
    elif what == "folder":
        path.unlink()
        path.mkdir()
    elif what == "singular":
        raw = bytearray(gzip.decompress(path.read_bytes()))
        raw[280:296] = bytes(16)  # srow_x
        path.write_bytes(gzip.compress(bytes(raw)))


@pytest.mark.parametrize("role", ["--moving", "--fixed"])
@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("gone", "no such file"),
        ("folder", "is a folder"),
        ("text", "not an image"),
        ("truncated", "truncated"),
        ("nan", "NaN or infinite"),
        ("infinite", "NaN or infinite"),
        ("overflow", "NaN or infinite"),
        ("constant", "constant"),
        ("complex", "complex or colour"),
        ("rgb", "complex or colour"),
        ("slice", "expected a volume (the model is 3D)"),
        ("4d", "a frame of a 4D image must be named"),
        ("empty", "no voxels"),
        ("singular", "singular"),
        ("tiny voxels", "has voxels of 2e-07"),
    ],
)
def test_bad_images(role: str, what: str, cause: str, commands: Path, capsys) -> None:
    _bad(commands / "bad.nii.gz", what)
    files = {"--moving": "good.nii.gz", "--fixed": "good.nii.gz", role: "bad.nii.gz"}
    arguments = [word for name, file in files.items() for word in (name, str(commands / file))]
    prefix = str(commands / "out" / "p_")
    error = fails(main, ["--model", "m", *arguments, "--output-prefix", prefix], capsys)
    assert cause in error
    assert "bad.nii.gz" in error
    assert not (commands / "out").exists()


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        (["--output-prefix", "good.nii.gz/p_"], "is not a folder"),
        (["--frame", "3"], "frames 0 to 0"),
        (["--threads", "0"], "expected at least 1"),
        (["--moving-modality", "CT"], "this model knows"),
        (["--all-frames"], "expected a 4D image"),
        (["--batch", "list.csv"], "--batch and neither"),
    ],
)
def test_bad_options(changed: list[str], cause: str, commands: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(commands)
    usual = ["--model", "m", "--moving", "good.nii.gz", "--fixed", "good.nii.gz", "--output-prefix", "p_"]
    before = sorted(commands.iterdir())
    assert cause in fails(main, [*usual, *changed], capsys)
    assert sorted(commands.iterdir()) == before


def test_an_image_too_large_for_memory_is_refused_before_it_is_read(commands: Path, capsys) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((30000, 30000, 30000))
    header.set_sform(np.eye(4), code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    with gzip.open(commands / "huge.nii.gz", "wb") as stream:
        stream.write(header.binaryblock + bytes(400))
    files = ["--moving", str(commands / "huge.nii.gz"), "--fixed", str(commands / "good.nii.gz")]
    error = fails(main, ["--model", "m", *files, "--output-prefix", str(commands / "p_")], capsys)
    assert "huge.nii.gz takes about 540000.0 GB of memory" in error


NEEDS = r" takes about \d+\.\d [GM]B of memory, and \d+\.\d [GM]B are free"


def test_what_registering_needs_is_said_before_the_model_runs(commands: Path, capsys, monkeypatch) -> None:
    """Either file can be read alone (16 bytes a voxel); what the results take besides does not fit."""
    model = fire_tf.model.storage.load_model("m", compiled=False)
    monkeypatch.setattr(model, "estimate_pair", lambda a, b: pytest.fail("the model ran"), raising=True)
    monkeypatch.setattr("fire_tf.geometry.nifti.free_memory", lambda: 50.0 * np.prod(SIZE))
    good = str(commands / "good.nii.gz")
    arguments = ["--model", "m", "--moving", good, "--fixed", good, "--output-prefix", str(commands / "p_")]
    assert re.search(r"registering \S*good.nii.gz and \S*good.nii.gz" + NEEDS, fails(main, arguments, capsys))
    assert [path.name for path in commands.iterdir()] == ["good.nii.gz"]


def test_what_a_whole_series_needs_is_said_before_its_first_frame(
    commands: Path, capsys, monkeypatch
) -> None:
    """A small series on a large fixed grid: 12 bytes a fixed voxel for each of 50 frames."""
    monkeypatch.setattr("fire_tf.series.beat.register_frames", lambda *arguments: pytest.fail("registered"))
    frames = np.random.default_rng(0).uniform(size=(4, 4, 4, 50)).astype(np.float32)
    _write(commands / "series.nii.gz", frames)
    monkeypatch.setattr("fire_tf.geometry.nifti.free_memory", lambda: 500.0 * np.prod(SIZE))
    files = ["--moving", str(commands / "series.nii.gz"), "--fixed", str(commands / "good.nii.gz")]
    arguments = ["--model", "m", *files, "--all-frames", "--output-prefix", str(commands / "p_")]
    assert re.search(r"registering all frames of \S*series.nii.gz" + NEEDS, fails(main, arguments, capsys))
    assert sorted(path.name for path in commands.iterdir()) == ["good.nii.gz", "series.nii.gz"]


def test_a_folder_without_permission_is_named_before_the_model_is_read(
    commands: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("fire_tf.files.outputs.os.access", lambda path, mode: False)  # tests may run as root
    monkeypatch.setattr(fire_tf.model.storage, "load_model", lambda folder, compiled: pytest.fail("read"))
    good = str(commands / "good.nii.gz")
    arguments = ["--model", "m", "--moving", good, "--fixed", good, "--output-prefix", str(commands / "p_")]
    assert "cannot be written to (no permission)" in fails(main, arguments, capsys)


def test_a_full_disk_is_named_and_leaves_nothing(commands: Path, capsys, monkeypatch) -> None:
    def full(image: nib.Nifti1Image, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", full)
    good = str(commands / "good.nii.gz")
    prefix = str(commands / "p_")
    arguments = ["--model", "m", "--moving", good, "--fixed", good, "--output-prefix", prefix]
    assert "No space left on device" in fails(main, arguments, capsys)
    assert [path.name for path in commands.iterdir()] == ["good.nii.gz"]


def test_a_series_that_breaks_off_leaves_no_folder(commands: Path, capsys) -> None:
    """Its frames are registered while the results are being written: the folders made for them go again."""
    noise = np.random.default_rng(0).uniform(size=(*SIZE, 3)).astype(np.float32)
    _write(commands / "series.nii.gz", noise)
    (commands / "series.nii.gz").write_bytes((commands / "series.nii.gz").read_bytes()[:9000])
    files = ["--moving", str(commands / "series.nii.gz"), "--fixed", str(commands / "good.nii.gz")]
    arguments = [
        "--model",
        "m",
        *files,
        "--all-frames",
        "--output-prefix",
        str(commands / "new" / "er" / "p_"),
    ]
    assert "truncated" in fails(main, arguments, capsys)
    assert not (commands / "new").exists()


def test_nothing_but_background_where_the_model_looks(commands: Path, capsys) -> None:
    """Two lone voxels at the ends of a long image: the canvas, in the middle, meets neither."""
    data = np.zeros((40, 14, 8), np.float32)
    data[[0, 39]] = 1
    _write(commands / "ends.nii.gz", data)
    files = ["--moving", str(commands / "ends.nii.gz"), "--fixed", str(commands / "good.nii.gz")]
    error = fails(main, ["--model", "m", *files, "--output-prefix", str(commands / "p_")], capsys)
    assert "nothing but background" in error


# -- fuzzing: a good file, some of its bytes changed -----------------------------------------------------------------

changes = st.lists(st.tuples(st.integers(0, HEADER + 3), st.integers(0, 255)), min_size=1, max_size=12)
numbers = st.sampled_from([0.0, -1.0, np.nan, np.inf, -np.inf, 1e-30, 1e30, 3e38, 2.0])
fields = st.lists(
    st.tuples(st.sampled_from([76, 80, 84, 88, 108, 112, 116, *range(256, 328, 4)]), numbers), max_size=4
)
sizes = st.lists(st.tuples(st.integers(0, 7), st.sampled_from([0, 1, 2, -1, 7, 32767, -32768])), max_size=3)
# The same examples every time: what a new one finds belongs into a test of its own.
FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def mutated(raw: bytes, changes, fields, sizes) -> bytes:
    """``raw``, a NIfTI file, with bytes, float32 fields and int16 sizes of its header changed."""
    result = bytearray(raw)
    for offset, number in fields:
        result[offset : offset + 4] = np.float32(number).tobytes()
    for axis, size in sizes:
        result[40 + 2 * axis : 42 + 2 * axis] = np.int16(size).tobytes()
    for offset, byte in changes:
        result[offset] = byte
    return bytes(result)


def survives(read, path: Path) -> None:
    """Reading gives a result, with a doubt at the most, or an InputError of one line that names the file."""
    try:
        with collected():
            read(path)
    except InputError as error:
        message = str(error)
    else:
        return
    assert path.name in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan, 1e30, -1e30])
def test_an_impossible_place_of_the_data_is_named(offset, tmp_path: Path) -> None:
    path = tmp_path / "offset.nii"
    raw = nib.Nifti1Image(brain_like(SIZE), np.diag([2.0, 2, 2, 1])).to_bytes()
    path.write_bytes(mutated(raw, [], [(108, offset)], []))  # vox_offset
    with pytest.raises(InputError, match=r"offset\.nii: (not an image|its data cannot be read)"):
        read_image(path)


@FUZZ
@given(changes=changes, fields=fields, sizes=sizes, cut=st.one_of(st.none(), st.integers(0, 3000)))
def test_broken_headers_never_get_through(changes, fields, sizes, cut, tmp_path: Path) -> None:
    good = nib.Nifti1Image(brain_like(SIZE), np.diag([2.0, 2, 2, 1])).to_bytes()
    path = tmp_path / "fuzzed.nii"
    path.write_bytes(mutated(good, changes, fields, sizes)[:cut])
    # What can be read can also be put on a canvas, in bounded time.
    survives(lambda path: prepare(read_image(path), (2.0,) * 3, SIZE, 99.5), path)
    survives(lambda path: read_image(path, labels=True), path)


@FUZZ
@given(changes=changes, fields=fields, sizes=sizes)
def test_broken_compressed_files_and_fields(changes, fields, sizes, tmp_path: Path) -> None:
    vectors = nib.Nifti1Image(np.zeros((*SIZE, 1, 3), np.float32), np.eye(4))
    vectors.header.set_intent(1007)
    path = tmp_path / "fuzzed.nii.gz"
    path.write_bytes(gzip.compress(mutated(vectors.to_bytes(), changes, fields, sizes)))
    survives(read_transform, path)
    survives(read_image, path)


@FUZZ
@given(changes=st.lists(st.tuples(st.integers(0, 160), st.integers(0, 255)), min_size=1, max_size=8))
def test_broken_affines(changes, tmp_path: Path) -> None:
    write_affine(AffineMap.identity(3), tmp_path / "good.mat", 3)
    raw = bytearray((tmp_path / "good.mat").read_bytes())
    for offset, byte in changes:
        raw[offset] = byte
    (tmp_path / "fuzzed.mat").write_bytes(raw)
    survives(read_affine, tmp_path / "fuzzed.mat")


@FUZZ
@given(flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), min_size=1, max_size=6))
def test_damaged_gzip_streams(flips, tmp_path: Path) -> None:
    raw = bytearray(gzip.compress(nib.Nifti1Image(brain_like(SIZE), np.eye(4)).to_bytes()))
    for offset, bits in flips:
        raw[offset % len(raw)] ^= bits
    path = tmp_path / "fuzzed.nii.gz"
    path.write_bytes(raw)
    survives(read_image, path)


def test_apply_survives_too(commands: Path, capsys) -> None:
    write_affine(AffineMap.identity(3), commands / "still.mat", 3)
    (commands / "bad.nii.gz").write_bytes(b"\x1f\x8b broken")
    arguments = ["--transform", str(commands / "still.mat"), "--input", str(commands / "bad.nii.gz")]
    arguments += ["--reference", str(commands / "good.nii.gz"), "--output", str(commands / "o.nii.gz")]
    assert "bad.nii.gz" in fails(apply_main, arguments, capsys)
