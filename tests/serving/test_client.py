"""The client against a PredictionService on loopback that runs exported signatures; what it says when that fails."""

import importlib.util
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import grpc
import nibabel as nib
import numpy as np
import pytest
import yaml
from fake_model import brain_like, turned
from scipy.io import loadmat
from tiny_fire import awaken, smallest_model, tiny_model

from fire_tf.client import main
from fire_tf.files.errors import InputError
from fire_tf.geometry.images import Image, read_image
from fire_tf.model.fire import FIRE
from fire_tf.registration.results import write_registration
from fire_tf.registration.user_images import Options, RegisteredImages, register_images
from fire_tf.serving.messages import (
    PredictionLog,
    PredictRequest,
    Tensor,
    from_tensor,
    predict_request,
    to_tensor,
)
from fire_tf.serving.saved_model.canvases import on_canvas
from fire_tf.serving.saved_model.export import export_model
from fire_tf.serving.served_model import ServedModel
from fire_tf.serving.transports import GrpcServer, RestServer, connect, describe

import tensorflow as tf  # isort: skip  (after the package, which quietens it)
from tensorflow.core.framework.tensor_pb2 import TensorProto  # isort: skip

ROOT = Path(__file__).parents[2]
SETTINGS = {"modality_a": "T1", "modality_b": "FLAIR", "percentile": 99.5}


def load_loopback() -> ModuleType:
    """``serving/loopback.py``, which is run and not installed."""
    spec = importlib.util.spec_from_file_location("loopback", ROOT / "serving" / "loopback.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loopback"] = module
    spec.loader.exec_module(module)
    return module


loopback = load_loopback()


@pytest.fixture(scope="module")
def model() -> FIRE:
    model = awaken(tiny_model(2), seed=2)
    model.preprocessing = {**SETTINGS, "spacing": [1.5, 1.5]}
    return model


@pytest.fixture(scope="module")
def folder(model: FIRE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(model, tmp_path_factory.mktemp("served"), source={"model_sha256": "abc"})


@pytest.fixture(scope="module")
def addresses(folder: Path) -> Iterator[dict[str, str]]:
    """Where a server of the model answers, by either protocol."""
    models = {"fire": loopback.Servable(folder)}
    (by_grpc, grpc_port), (by_rest, rest_port) = loopback.grpc_server(models), loopback.rest_server(models)
    yield {"grpc": f"127.0.0.1:{grpc_port}", "rest": f"http://127.0.0.1:{rest_port}"}
    by_grpc.stop(None)
    by_rest.shutdown()
    by_rest.server_close()


def save(path: Path, data: np.ndarray, spacing: float, degrees: float) -> Path:
    affine = np.diag([-spacing, spacing, spacing, 1.0])
    affine[:3, :3] = turned(degrees, (0.0, 0.0, 0.0))[:, :3] @ affine[:3, :3]
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    """Slices that fill the canvas neither in size nor in spacing nor in orientation; one is larger than it."""
    moving = save(tmp_path / "moving.nii.gz", brain_like((26, 15), 0), 1.1, 8)
    return moving, save(tmp_path / "fixed.nii.gz", brain_like((11, 12), 1), 1.5, -3)


def assert_same_results(ours: Path, theirs: Path) -> None:
    """Two folders of results: images within 1e-4 of their grey values, fields within 1e-3 of a voxel of 1.5 mm."""
    names = {path.name for path in ours.iterdir()}
    assert names == {path.name for path in theirs.iterdir()}
    assert len(names) == 10
    for name in sorted(names):
        if name.endswith(".nii.gz"):
            one, other = nib.load(ours / name), nib.load(theirs / name)
            expected = one.get_fdata()
            tolerance = 1.5e-3 if "Composite" in name else 1e-4 * np.ptp(expected)
            np.testing.assert_allclose(other.get_fdata(), expected, atol=tolerance, rtol=0, err_msg=name)
            np.testing.assert_array_equal(other.affine, one.affine)
            assert other.header.get_intent() == one.header.get_intent()
        if name.endswith(".mat"):
            key = "AffineTransform_double_2_2"
            np.testing.assert_allclose(loadmat(theirs / name)[key], loadmat(ours / name)[key], atol=1e-3)
    numbers = [json.loads((folder / "qc.json").read_text()) for folder in (ours, theirs)]
    for name, value in numbers[0].items():
        if isinstance(value, float) and name != "seconds":
            assert numbers[1][name] == pytest.approx(value, abs=2e-3), name


@pytest.mark.usefixtures("no_turns")
@pytest.mark.parametrize("modality", ["T1", "FLAIR"])
def test_client_writes_what_register_writes(
    model: FIRE, addresses: dict[str, str], images: tuple[Path, Path], modality: str, tmp_path: Path
) -> None:
    result = register_images(model, *images, Options(moving_modality=modality))
    write_registration(result, f"{tmp_path}/ours/")
    for protocol, address in addresses.items():
        command = [
            "--server",
            address,
            "--moving-modality",
            modality,
            "--output-prefix",
            f"{tmp_path}/{protocol}/",
        ]
        main([*command, "--moving", str(images[0]), "--fixed", str(images[1])])
        assert_same_results(tmp_path / "ours", tmp_path / protocol)
        numbers = json.loads((tmp_path / protocol / "qc.json").read_text())
        assert numbers["model"] == f"{address}/fire"
        assert numbers["model_sha256"] == "abc"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that this machine gives itself, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    named = [
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*command, *named], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def encrypted(folder: Path, certificate: tuple[Path, Path]) -> Iterator[dict[str, str]]:
    """As `addresses`, by TLS."""
    models = {"fire": loopback.Servable(folder)}
    public, private = certificate
    credentials = grpc.ssl_server_credentials([(private.read_bytes(), public.read_bytes())])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    by_grpc, grpc_port = loopback.grpc_server(models, credentials=credentials)
    by_rest, rest_port = loopback.rest_server(models, context)
    yield {"grpc": f"localhost:{grpc_port}", "rest": f"https://127.0.0.1:{rest_port}"}
    by_grpc.stop(None)
    by_rest.shutdown()
    by_rest.server_close()


@pytest.mark.usefixtures("no_turns")
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_tls_with_a_certificate_of_ones_own(
    protocol: str,
    model: FIRE,
    encrypted: dict[str, str],
    certificate: tuple[Path, Path],
    images: tuple[Path, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The same results, if the certificate is trusted; one line if it is not, and for plain words."""
    write_registration(register_images(model, *images), f"{tmp_path}/ours/")
    files = ["--moving", str(images[0]), "--fixed", str(images[1])]
    command = [
        "--server",
        encrypted[protocol],
        "--timeout",
        "30",
        *files,
        "--output-prefix",
        f"{tmp_path}/{protocol}/",
    ]
    main([*command, "--ca", str(certificate[0])])
    assert_same_results(tmp_path / "ours", tmp_path / protocol)
    capfd.readouterr()
    plain = encrypted[protocol].replace("https://", "http://")
    for refused, cause in (
        (
            [*command, "--tls"],
            "has a certificate that is not trusted, see --ca" if protocol == "rest" else "",
        ),
        (["--server", plain, *command[2:]], ""),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(refused)
        error = capfd.readouterr().err
        assert stopped.value.code == 2
        assert error.count("\n") == 1, error
        assert cause in error


def register_served(address: str, images: tuple[Path, Path], name: str = "fire") -> RegisteredImages:
    server = connect(address, name, 300.0)
    served = ServedModel(server, describe(server), (read_image(images[0]), read_image(images[1])))
    return register_images(served, *images)


@pytest.mark.slow
def test_volumes_above_the_default_limit_of_a_message(tmp_path: Path) -> None:
    """104^3 voxels are 4.3 MiB, an answer eight times that; gRPC takes 4 MiB if it is not told otherwise."""
    model = on_canvas(awaken(smallest_model(rank=3)), (104, 104, 104))
    model.preprocessing = {**SETTINGS, "spacing": [1.0] * 3}
    models = {"volume": loopback.Servable(export_model(model, tmp_path / "served"))}
    (by_grpc, port), (by_rest, rest_port) = loopback.grpc_server(models), loopback.rest_server(models)
    pair = tuple(
        save(tmp_path / f"{seed}.nii.gz", brain_like((104, 100, 104), seed), 1.0, 0) for seed in (0, 1)
    )
    expected = register_images(model, *pair)
    for address in (f"127.0.0.1:{port}", f"http://127.0.0.1:{rest_port}"):
        found = register_served(address, pair, "volume")
        for kind in ("warped", "inverse_warped", "from_moving", "from_fixed"):
            one, other = (getattr(result, kind).get_fdata() for result in (expected, found))
            np.testing.assert_allclose(other, one, atol=1e-4 * np.ptp(one), rtol=0)
        for one, other in zip(expected.fields(), found.fields(), strict=True):
            np.testing.assert_allclose(other.get_fdata(), one.get_fdata(), atol=1e-3)
    by_grpc.stop(None)
    by_rest.shutdown()
    by_rest.server_close()


def test_stacks_of_slices_are_left_to_register() -> None:
    settings = {**SETTINGS, "spacing": [1.5, 1.5], "slice_axis": "thickest"}
    stack = Image(np.zeros((24, 20, 3)), np.diag([1.5, 1.5, 10, 1]), "heart.nii")
    with pytest.raises(InputError, match=r"heart\.nii: is a stack"):
        ServedModel(None, {"canvas": [24, 20], "preprocessing": settings}, (stack, stack))


class Echo:
    """A servable that answers with what it was sent."""

    def predict(self, name: str, inputs: dict[str, np.ndarray], wanted: tuple = ()) -> dict[str, np.ndarray]:
        return inputs


def test_messages_above_grpcs_default_limit_go_both_ways() -> None:
    """4 MiB is what gRPC takes if it is not told otherwise; this is 6 MiB there and back."""
    (server, port) = loopback.grpc_server({"fire": Echo()})
    image = np.random.default_rng(0).normal(size=(1, 128, 96, 128, 1)).astype(np.float32)
    sent = predict_request("fire", "serving_default", {"moving": image})
    assert sent.ByteSize() > 6 * 2**20
    answer = connect(f"127.0.0.1:{port}", "fire", 120.0).predict("serving_default", {"moving": image}, ())
    server.stop(None)
    np.testing.assert_array_equal(answer["moving"], image)


class Stuck:
    """A servable that answers too late, and one that was exported by somebody else."""

    def signature(self, name: str) -> None:
        raise loopback.RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT, f'Serving signature name: "{name}" not found in signature def'
        )

    def predict(self, name: str, inputs: dict, wanted: tuple = ()) -> dict:
        if name == "describe":
            self.signature(name)
        time.sleep(1.0)
        return {}


@pytest.fixture(scope="module")
def bad_addresses() -> Iterator[dict[str, str]]:
    models = {"fire": Stuck()}
    (by_grpc, port), (by_rest, rest_port) = (
        loopback.grpc_server(models, largest=5000),
        loopback.rest_server(models),
    )
    yield {"grpc": f"127.0.0.1:{port}", "rest": f"http://127.0.0.1:{rest_port}"}
    by_grpc.stop(None)
    by_rest.shutdown()
    by_rest.server_close()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_command_says_that_nobody_is_there(
    scheme: str, images: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{scheme}127.0.0.1:{closed_port()}"
    files = ["--moving", str(images[0]), "--fixed", str(images[1]), "--output-prefix", f"{tmp_path}/out/"]
    with pytest.raises(SystemExit) as stopped:
        main(["--server", address, "--timeout", "5", *files])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {address}, model 'fire': cannot be reached")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_refusals_are_named(protocol: str, addresses: dict[str, str], bad_addresses: dict[str, str]) -> None:
    with pytest.raises(InputError, match="model 'absent': has no such model"):
        describe(connect(addresses[protocol], "absent", 30.0))
    with pytest.raises(InputError, match=r"no signature 'describe': was it written by fire_tf\.export"):
        describe(connect(bad_addresses[protocol], "fire", 30.0))
    small = {name: np.zeros((1, 4, 4, 1)) for name in ("moving", "fixed")}
    if protocol == "grpc":  # the other one asks for the types of the signature's inputs first
        with pytest.raises(InputError, match="gave no answer in time, see --timeout"):
            connect(bad_addresses[protocol], "fire", 0.1).predict("serving_default", small, ())
        large = {"moving": np.zeros((1, 64, 64, 1))}
        with pytest.raises(InputError, match="takes no message of this size"):
            connect(bad_addresses[protocol], "fire", 30.0).predict("serving_default", large, ())
    with pytest.raises(InputError, match=r"refused the images \(.*moving is constant"):
        connect(addresses[protocol], "fire", 30.0).predict("serving_default", small, ())


def test_other_services_and_addresses_are_told_from_ours(addresses: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"--server localhost: expected host:port, or http://host:port"):
        connect("localhost", "fire", 1.0)
    with pytest.raises(InputError, match="expected host:port"):
        connect("ftp://localhost:1", "fire", 1.0)
    assert isinstance(connect("https://host/", "fire", 1.0), RestServer)
    with pytest.raises(InputError, match="has no such model"):  # a web server, but not TensorFlow Serving's
        describe(connect(f"{addresses['rest']}/elsewhere", "fire", 30.0))
    with pytest.raises(InputError, match="cannot be reached"):  # gRPC to a web server
        describe(connect(addresses["rest"].removeprefix("http://"), "fire", 5.0))


def malformed() -> dict[str, PredictRequest]:
    good = np.linspace(0, 1, 64, dtype=np.float32).reshape((1, 8, 8, 1))
    requests = {
        "rank": predict_request("fire", "serving_default", {"moving": good[..., 0], "fixed": good}),
        "channels": predict_request("fire", "serving_default", {"moving": good.repeat(3, -1), "fixed": good}),
        "size": predict_request("fire", "serving_default", {"moving": good[:, :0], "fixed": good}),
        "nan": predict_request(
            "fire", "serving_default", {"moving": good, "fixed": np.full_like(good, np.nan)}
        ),
        "missing": predict_request("fire", "serving_default", {"moving": good}),
        "dtype": predict_request("fire", "serving_default", {"moving": good, "fixed": good}),
        "content": predict_request("fire", "serving_default", {"moving": good, "fixed": good}),
        "bytes": predict_request("fire", "register_bytes", {"moving_bytes": b"\xff", "fixed_bytes": b""}),
    }
    requests["dtype"].inputs["moving"].dtype = 3  # int32
    requests["content"].inputs["moving"].tensor_content = b"123"
    return requests


def test_server_answers_malformed_requests_and_lives_on(addresses: dict[str, str]) -> None:
    server = GrpcServer(addresses["grpc"], "fire", 60.0)
    for name, request in malformed().items():
        with pytest.raises(grpc.RpcError) as refused:
            server._call(request, timeout=60.0)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
    assert describe(server)["canvas"] == [16, 12]
    server.close()


def test_tensors_are_tensorflows_own() -> None:
    """Numbers as bytes, as a list, and as one that stands for all; strings; TensorFlow reads and writes the same."""
    numbers = np.arange(6, dtype=np.float32).reshape((1, 2, 3)) / 7
    theirs = TensorProto.FromString(to_tensor(numbers).SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(theirs), numbers)
    listed = TensorProto(dtype=1, tensor_shape=theirs.tensor_shape, float_val=numbers.ravel().tolist())
    for written in (theirs, listed, tf.make_tensor_proto(numbers)):
        np.testing.assert_array_equal(from_tensor(Tensor.FromString(written.SerializeToString())), numbers)
    one = TensorProto(dtype=1, tensor_shape=theirs.tensor_shape, float_val=[2.5])
    np.testing.assert_array_equal(
        from_tensor(Tensor.FromString(one.SerializeToString())), np.full((1, 2, 3), 2.5)
    )
    assert (
        tf.make_ndarray(TensorProto.FromString(to_tensor(b"\x00\xff").SerializeToString())).item()
        == b"\x00\xff"
    )
    with pytest.raises(ValueError, match="a tensor of type 3"):
        from_tensor(Tensor(dtype=3))


def test_messages_are_those_of_tensorflow_serving() -> None:
    """Byte for byte, both ways; needs ``pip install fire_tf[serving]``."""
    predict_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.predict_pb2", reason="tensorflow-serving-api missing"
    )
    log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    numbers = np.arange(6, dtype=np.float32).reshape((1, 2, 3))
    ours = predict_request("fire", "serving_default", {"moving": numbers}, ("flow_forward",))
    theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert theirs.model_spec.name == "fire"
    assert theirs.model_spec.signature_name == "serving_default"
    assert list(theirs.output_filter) == ["flow_forward"]
    assert theirs.inputs["moving"].tensor_shape.dim[2].size == 3
    assert theirs.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True)
    log = log_pb2.PredictionLog.FromString(PredictionLog(predict_log={"request": ours}).SerializeToString())
    assert log.predict_log.request == theirs


IMAGE = "tensorflow/serving:2.15.1"


def _image_is_here() -> bool:
    """Whether a Docker daemon runs and has the server's image: a test fetches nothing from the network."""
    if not shutil.which("docker"):
        return False
    command = ["docker", "image", "inspect", IMAGE]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


@pytest.fixture
def real_server(folder: Path) -> Iterator[dict[str, str]]:
    """tensorflow_model_server, installed or in Docker, with the exported model."""
    by_grpc, by_rest = closed_port(), closed_port()
    if shutil.which("tensorflow_model_server"):
        command = [
            "tensorflow_model_server",
            f"--port={by_grpc}",
            f"--rest_api_port={by_rest}",
            "--model_name=fire",
        ]
        command.append(f"--model_base_path={folder.parent}")
    elif _image_is_here():
        ports = ["-p", f"127.0.0.1:{by_grpc}:8500", "-p", f"127.0.0.1:{by_rest}:8501"]
        mount = ["-v", f"{folder.parent}:/models/fire:ro", "-e", "MODEL_NAME=fire"]
        command = ["docker", "run", "--rm", *ports, *mount, IMAGE]
    else:
        pytest.skip(f"neither tensorflow_model_server nor Docker with {IMAGE} here")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        yield {"grpc": f"127.0.0.1:{by_grpc}", "rest": f"http://127.0.0.1:{by_rest}"}
        server.terminate()


def test_real_server(
    model: FIRE, real_server: dict[str, str], images: tuple[Path, Path], tmp_path: Path
) -> None:
    write_registration(register_images(model, *images), f"{tmp_path}/ours/")
    for _ in range(120):  # until it has loaded the model
        try:
            describe(connect(real_server["rest"], "fire", 5.0))
            break
        except InputError:
            time.sleep(1.0)
    for protocol, address in real_server.items():
        command = ["--server", address, "--output-prefix", f"{tmp_path}/{protocol}/"]
        main([*command, "--moving", str(images[0]), "--fixed", str(images[1])])
        assert_same_results(tmp_path / "ours", tmp_path / protocol)
    server = GrpcServer(real_server["grpc"], "fire", 60.0)
    for name, request in malformed().items():
        with pytest.raises(grpc.RpcError) as refused:
            server._call(request, timeout=60.0)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
    assert describe(server)["canvas"] == [16, 12]


def test_compose_file_serves_what_export_writes() -> None:
    """To this machine alone, from folders that are there, each request by itself."""
    folder = ROOT / "serving"
    service = yaml.safe_load((folder / "docker-compose.yml").read_text())["services"]["fire"]
    assert service["image"] == IMAGE
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    mounts = dict(volume.removesuffix(":ro").split(":") for volume in service["volumes"])
    options = dict(option.removeprefix("--").split("=") for option in service["command"])
    assert options.pop("model_config_file") == mounts["./models.config"]
    assert "enable_batching" not in options
    served = (folder / "models.config").read_text()
    assert f'base_path: "{mounts["./models"]}/fire"' in served
    assert 'name: "fire"' in served  # the client's default
