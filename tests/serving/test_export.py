"""The SavedModel: what a process that has TensorFlow alone gets from it is what `register` gives."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import brain_like
from tiny_fire import CANVAS, awaken, tiny_model

from fire_tf.export import main
from fire_tf.files.errors import InputError
from fire_tf.geometry.point_maps import AffineMap, Chain, InPlane, grid_points
from fire_tf.intensities.grey_values import normalise
from fire_tf.model.fire import FIRE
from fire_tf.model.storage import save_model
from fire_tf.registration.user_images import RegisteredImages, register_images
from fire_tf.serving.saved_model.canvases import on_canvas
from fire_tf.serving.saved_model.export import WARMUP, export_model
from fire_tf.serving.saved_model.signatures import OUTPUTS, normalised

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

SPACING = 1.5
LARGE = {2: (24, 16), 3: (16, 12, 20)}  # a second canvas of the ladder, not in proportion to the first
# Sizes of the moving and the fixed images, and how many pairs of them: on the first and on the second canvas.
SIZES: dict[int, list[tuple[tuple[int, ...], tuple[int, ...], int]]] = {
    2: [((16, 12), (11, 7), 1), ((20, 9), (13, 16), 2)],
    3: [((12, 8, 16), (9, 7, 11), 1), ((13, 8, 20), (16, 11, 15), 2)],
}
# Runs requests (npz files) in a process without this package and the ones that it is built on, through TensorFlow 2's
# loader, TensorFlow 1's (the C++ server's) and saved_model_cli.
ALONE = """
import json, sys
for name in ("fire_tf", "voxelmorph", "neurite", "tensorflow_addons"):
    sys.modules[name] = None  # importing it fails
import numpy as np, tensorflow as tf
from tensorflow.python.tools import saved_model_cli

report = {}
for folder in sys.argv[1:]:
    model, *requests = json.loads(open(folder + "/requests.json").read())
    loaded = {request: dict(np.load(f"{folder}/{request}.npz")) for request in requests}
    signatures = tf.saved_model.load(model).signatures
    report[folder] = sorted(signatures)
    for request, images in loaded.items():
        found = signatures["serving_default"](**{k: tf.constant(v) for k, v in images.items()})
        np.savez(f"{folder}/{request}_load.npz", **found)
        encoded = {k + "_bytes": tf.io.serialize_tensor(tf.constant(v)) for k, v in images.items()}
        found = signatures["register_bytes"](**encoded)
        decoded = {k.removesuffix("_bytes"): tf.io.parse_tensor(v, tf.float32) for k, v in found.items()}
        np.savez(f"{folder}/{request}_bytes.npz", **decoded)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], model)
        for request, images in loaded.items():
            for name in ("serving_default", "warp_only"):
                signature = graph.signature_def[name]
                feeds = {signature.inputs[k].name: v for k, v in images.items()}
                found = session.run({k: v.name for k, v in signature.outputs.items()}, feeds)
                np.savez(f"{folder}/{request}_session_{name}.npz", **found)
    for name, image in loaded[requests[0]].items():
        np.save(f"{folder}/{name}.npy", image)
    inputs = ";".join(f"{name}={folder}/{name}.npy" for name in loaded[requests[0]])
    sys.argv = ["saved_model_cli", "run", "--dir", model, "--tag_set", "serve", "--signature_def", "serving_default",
                "--inputs", inputs, "--outdir", folder + "/cli"]
    try:
        saved_model_cli.main()
    except SystemExit as done:
        assert not done.code, done
print("report", json.dumps(report))
"""


def served_model(rank: int) -> FIRE:
    model = awaken(tiny_model(rank), seed=rank)
    model.preprocessing = {
        "modality_a": "T1",
        "modality_b": "FLAIR",
        "spacing": [SPACING] * rank,
        "percentile": 99.5,
    }
    return model


def on_disk(data: np.ndarray) -> nib.Nifti1Image:
    return nib.Nifti1Image(data, np.diag([SPACING, SPACING, SPACING, 1.0]))


def registered(model: FIRE, moving: np.ndarray, fixed: np.ndarray) -> RegisteredImages:
    """What `register` gives on the smaller of the two canvases that holds both images."""
    fits = np.maximum(moving.shape, fixed.shape) <= CANVAS[model.ndim]
    canvas = CANVAS[model.ndim] if fits.all() else LARGE[model.ndim]
    return register_images(on_canvas(model, canvas), on_disk(moving), on_disk(fixed))


def voxel_flow(result: RegisteredImages, inverse: bool = False) -> np.ndarray:
    """The registration as a displacement in voxels of the target."""
    found, grids = result.registration, (result.moving_grid, result.fixed_grid)
    source, target = grids[::-1] if inverse else grids
    world_map = found.to_fixed if inverse else found.to_moving
    whole = Chain((AffineMap(target.affine), world_map, source.from_world()))
    points = grid_points(target.file_shape)
    return InPlane(whole, len(target.file_shape))(points) - points


def in_voxels(world: AffineMap) -> AffineMap:
    """A map of world points as one of voxels, where both grids begin at the world's origin."""
    to_world = AffineMap(np.diag([SPACING, SPACING, SPACING, 1.0]))
    return to_world.inverse().after(world).after(to_world)


def assert_is_registration(served: dict[str, np.ndarray], results: list[RegisteredImages], images) -> None:
    """Images within 1e-4 of the grey-value range, fields within 1e-3 voxel."""
    assert set(served) == set(OUTPUTS)
    for index, result in enumerate(results):
        of_moving, of_fixed = (np.ptp(images[name][index]) for name in ("moving", "fixed"))
        for name, expected, grey_range in (
            ("warped_moving", result.warped, of_moving),
            ("warped_fixed", result.inverse_warped, of_fixed),
            ("synth_moving", result.from_moving, of_fixed),
            ("synth_fixed", result.from_fixed, of_moving),
        ):
            difference = np.abs(served[name][index, ..., 0] - expected.get_fdata()).max()
            assert difference <= 1e-4 * grey_range, name
        rank = len(result.moving_grid.file_shape)
        for direction, inverse, world in (
            ("forward", False, result.registration.affine_to_moving),
            ("backward", True, result.registration.affine_to_fixed),
        ):
            flow = served[f"flow_{direction}"][index]
            assert np.abs(flow).max() > 0.5  # something moves
            np.testing.assert_allclose(flow, voxel_flow(result, inverse), atol=1e-3)
            np.testing.assert_allclose(
                served[f"affine_{direction}"][index],
                in_voxels(world).matrix[:rank, [*range(rank), 3]],
                atol=1e-3,
            )


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[FIRE, Path]]:
    """A model and its SavedModel for two and for three dimensions."""
    models = {rank: served_model(rank) for rank in (2, 3)}
    folder = tmp_path_factory.mktemp("served")
    return {
        rank: (model, export_model(model, folder / str(rank), canvases=[LARGE[rank]]))
        for rank, model in models.items()
    }


@pytest.fixture(params=[2, 3])
def exported(request: pytest.FixtureRequest, exports: dict[int, tuple[FIRE, Path]]) -> tuple[FIRE, Path]:
    return exports[request.param]


def requests_of(rank: int) -> list[dict[str, np.ndarray]]:
    return [
        {
            name: np.stack([brain_like(size, seed + 10 * count) for count in range(pairs)])[..., np.newaxis]
            for seed, (name, size) in enumerate((("moving", moving), ("fixed", fixed)))
        }
        for moving, fixed, pairs in SIZES[rank]
    ]


@pytest.mark.usefixtures("no_turns")
def test_a_process_with_tensorflow_alone_registers_as_we_do(
    exports: dict[int, tuple[FIRE, Path]], tmp_path: Path
) -> None:
    """Two sizes, two batches and two canvases in 2D and 3D, through every way of loading; see `ALONE`."""
    folders = {rank: tmp_path / str(rank) for rank in exports}
    for rank, (_, model) in exports.items():
        folders[rank].mkdir()
        names = [str(number) for number in range(len(SIZES[rank]))]
        for name, images in zip(names, requests_of(rank), strict=True):
            np.savez(folders[rank] / f"{name}.npz", **images)
        (folders[rank] / "requests.json").write_text(json.dumps([str(model), *names]))
    command = [sys.executable, "-W", "ignore", "-c", ALONE, *map(str, folders.values())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.rsplit("report ", 1)[1])
    for rank, folder in folders.items():
        assert report[str(folder)] == ["describe", "register_bytes", "serving_default", "warp_only"]
        for name, images in enumerate(requests_of(rank)):
            pairs = zip(images["moving"], images["fixed"], strict=True)
            results = [registered(exports[rank][0], a[..., 0], b[..., 0]) for a, b in pairs]
            for way in ("load", "bytes", "session_serving_default"):
                assert_is_registration(dict(np.load(folder / f"{name}_{way}.npz")), results, images)
            light = np.load(folder / f"{name}_session_warp_only.npz")
            assert light.files == ["warped_moving"]
            np.testing.assert_allclose(
                light["warped_moving"], np.load(folder / f"{name}_load.npz")["warped_moving"], atol=1e-3
            )
            if name == 0:
                by_cli = {path.stem: np.load(path) for path in (folder / "cli").iterdir()}
                assert_is_registration(by_cli, results, images)


def holed(image: np.ndarray) -> np.ndarray:
    """Images (batch, *spatial, 1) with NaN in the middle of their tissue."""
    holed = image.copy()
    holed[(slice(None), *(size // 2 for size in image.shape[1:-1]))] = np.nan
    return holed


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a, b: (a[:, :0], b), "has no voxels"),
        (lambda a, b: (a[:0], b[:0]), "has no voxels"),
        (lambda a, b: (np.full_like(a, 3.0), b), "moving is constant"),
        (lambda a, b: (a, holed(b)), "fixed holds values that are NaN or infinite"),
        (lambda a, b: (np.where(a > 0, a, -np.inf), b), "moving holds values that are NaN or infinite"),
        (lambda a, b: (np.repeat(a, 2, axis=0), b), "differ in number"),
        (lambda a, b: (np.repeat(a, 3, axis=1), b), "must fit into .* or"),
    ],
)
def test_what_cannot_be_registered_is_an_invalid_argument(
    exported: tuple[FIRE, Path], spoil, message: str
) -> None:
    _, folder = exported
    signature = loaded(folder)["serving_default"]
    images = requests_of(exported[0].ndim)[0]
    moving, fixed = map(tf.constant, spoil(images["moving"], images["fixed"]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signature(moving=moving, fixed=fixed)


def test_bytes_that_hold_no_image_are_an_invalid_argument(exported: tuple[FIRE, Path]) -> None:
    model, folder = exported
    signature = loaded(folder)["register_bytes"]
    image = tf.constant(requests_of(model.ndim)[0]["moving"])
    good = tf.io.serialize_tensor(image)
    for bad in (
        tf.constant(b"\xff\xff"),
        tf.io.serialize_tensor(tf.cast(image, tf.int32)),
        tf.io.serialize_tensor(image[0]),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError):
            signature(moving_bytes=bad, fixed_bytes=good)


_LOADED: dict[Path, dict] = {}


def loaded(folder: Path) -> dict:
    if folder not in _LOADED:
        _LOADED[folder] = tf.saved_model.load(str(folder)).signatures
    return _LOADED[folder]


def test_description_says_what_a_client_has_to_know(exported: tuple[FIRE, Path]) -> None:
    model, folder = exported
    described = json.loads(loaded(folder)["describe"](about=tf.constant(""))["description"].numpy())
    assert described["canvases"] == [list(CANVAS[model.ndim]), list(LARGE[model.ndim])]
    assert described["canvas"] == list(model.canvas)
    assert described["preprocessing"] == model.preprocessing


def test_graph_holds_operations_of_tensorflow_alone(exported: tuple[FIRE, Path]) -> None:
    """No Python function, no custom operation, and nothing of Keras: variables are the networks' weights, once each."""
    model, folder = exported
    saved = tf.compat.v1.saved_model.load
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph_def = saved(session, ["serve"], str(folder)).graph_def
    functions = [node.op for function in graph_def.library.function for node in function.node_def]
    operations = {node.op for node in graph_def.node} | set(functions)
    assert not {name for name in operations if "PyFunc" in name}
    names = {function.signature.name for function in graph_def.library.function}
    known = set(tf.raw_ops.__dict__) | names
    assert operations <= known
    transformations = (model.transformation_ab, model.transformation_ba)
    shared = (model.encoder, model.decoder_ab, model.decoder_ba)
    expected = sum(network.count_params() for network in shared)
    expected += 2 * sum(network.count_params() for network in transformations)  # one T per canvas
    index = tf.train.list_variables(str(folder / "variables" / "variables"))
    assert (
        sum(int(np.prod(shape)) for name, shape in index if ".ATTRIBUTES/VARIABLE_VALUE" in name) == expected
    )


def test_warmup_requests_run(exported: tuple[FIRE, Path]) -> None:
    from fire_tf.serving.messages import PredictionLog, from_tensor

    model, folder = exported
    records = list(tf.data.TFRecordDataset(str(folder / WARMUP)).as_numpy_iterator())
    assert len(records) == 6  # three signatures on two canvases
    for record in records:
        request = PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(from_tensor(tensor)) for name, tensor in request.inputs.items()}
        outputs = loaded(folder)[request.model_spec.signature_name](**inputs)
        assert outputs
        if request.model_spec.signature_name == "warp_only":
            assert tuple(outputs["warped_moving"].shape[1:-1]) in (model.canvas, LARGE[model.ndim])


@pytest.mark.parametrize("percentile", [99.5, 90.0, 100.0])
def test_grey_values_are_normalised_as_register_does_it(percentile: float) -> None:
    rng = np.random.default_rng(0)
    few = np.zeros((30, 20), np.float32)
    few[3, 4], few[5, 6] = 7.0, 9.0
    tied = rng.integers(0, 4, (30, 20)).astype(np.float32)
    batch = np.stack([rng.normal(50, 9, (30, 20)).astype(np.float32), few, tied])[..., np.newaxis]
    found = normalised(tf.constant(batch), percentile)
    for image, own in zip(batch, found.normalised.numpy(), strict=True):
        np.testing.assert_allclose(own, normalise(image, percentile), atol=1e-6)


def test_same_canvas_is_the_same_model_and_others_must_fit() -> None:
    model = served_model(2)
    assert on_canvas(model, (16, 12)) is model
    for wrong in ((16,), (16, 14), (16, 0), (16, 12, 16)):
        with pytest.raises(InputError, match=r"canvas .*multiples of 4 and 4"):
            on_canvas(model, wrong)


def test_one_t_for_both_directions_stays_one_elsewhere() -> None:
    model = awaken(tiny_model(2, shared=True, steps=1))
    other = on_canvas(model, (24, 20))
    assert other.transformation_ba is other.transformation_ab
    for own, copied in zip(
        model.transformation_ab.get_weights(), other.transformation_ab.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(copied, own)


@pytest.mark.parametrize("pooling", ["moments", "keypoints"])
def test_a_larger_canvas_keeps_the_units_of_transforms(pooling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same features in the middle of a larger empty canvas: T measures and answers in voxels, not in canvases.

    Its maps are sharpened until each looks at one place, so that the empty rest has no weight.
    """
    monkeypatch.setitem(CANVAS, 2, (40, 36))
    model = awaken(tiny_model(2, filters=(2, 3), pooling=pooling, dilations=()), seed=1)
    other = on_canvas(model, (56, 60))
    t, elsewhere = model.transformation_ab, other.transformation_ab
    for network in (t, elsewhere):
        kernel, bias = network.affine.chain[-1].get_weights()
        network.affine.chain[-1].set_weights([1e4 * kernel, bias])
    rng = np.random.default_rng(3)
    features = [tf.constant(rng.normal(size=(1, 8, 8, 3)), tf.float32) for _ in range(2)]
    small, large = (
        [
            tf.pad(one, [[0, 0], *([(size - 8) // 2] * 2 for size in network.grid.shape), [0, 0]])
            for one in features
        ]
        for network in (t, elsewhere)
    )
    matrix = t.affine(small).numpy()
    assert np.abs(matrix - np.eye(2, 3)).max() > 0.01
    np.testing.assert_allclose(elsewhere.affine(large), matrix, atol=1e-4)
    moved = t.nonrigid(small).numpy()
    assert np.abs(moved).max() > 0.01
    np.testing.assert_allclose(elsewhere.nonrigid(large).numpy()[:, 4:-4, 6:-6], moved, atol=1e-5)


def test_command_writes_the_next_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(served_model(2), tmp_path / "run" / "model")
    output = tmp_path / "served"
    (output / "7").mkdir(parents=True)
    main(["--model", str(tmp_path / "run"), "--output", str(output)])
    assert capsys.readouterr().out.split() == [str(output / "8")]
    assert sorted(path.name for path in output.iterdir()) == ["7", "8"]
    described = json.loads(loaded(output / "8")["describe"](about=tf.constant(""))["description"].numpy())
    assert len(described["model_sha256"]) == 64
    for options, message in (
        (["--canvas", "16"], "--canvas 16: expected sizes"),
        (["--canvas", "17x12"], "canvas 17x12: expected 2 sizes, multiples of 4 and 4"),
        (["--version", "8"], "this version exists"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["--model", str(tmp_path / "run"), "--output", str(output), *options])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
    assert sorted(path.name for path in output.iterdir()) == ["7", "8"]


def test_a_model_in_memory_is_exported_as_by_the_command(
    exports: dict[int, tuple[FIRE, Path]], tmp_path: Path
) -> None:
    model, folder = exports[2]
    written = export_model(model, tmp_path / "served", canvases=[LARGE[2]], version=3)
    assert written == tmp_path / "served" / "3"
    assert sorted(loaded(written)) == sorted(loaded(folder))
    images = {name: tf.constant(image) for name, image in requests_of(2)[1].items()}
    one, other = (loaded(path)["serving_default"](**images) for path in (folder, written))
    for name in OUTPUTS:
        np.testing.assert_array_equal(one[name], other[name])


def test_keras_own_export_is_refused(tmp_path: Path) -> None:
    """Keras' models have a method of this name, which would write something else."""
    with pytest.raises(NotImplementedError, match="export_model"):
        tiny_model(2).export(tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_a_model_that_does_not_know_its_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set model\.preprocessing"):
        export_model(tiny_model(2), tmp_path / "served")
    assert not (tmp_path / "served").exists()
