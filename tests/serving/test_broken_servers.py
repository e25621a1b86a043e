"""What the client says of wrong ports, proxies, broken connections and other services: one line, exit code 2."""

import base64
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import nibabel as nib
import numpy as np
import pytest
from fake_model import brain_like

from fire_tf.client import main
from fire_tf.serving.messages import PREDICT, PredictResponse, to_tensor
from fire_tf.serving.transports import GrpcServer, connect

CANVAS = (16, 12)
DESCRIPTION = {
    "canvas": CANVAS,
    "preprocessing": {"modality_a": "T1", "modality_b": "FLAIR", "percentile": 99.5, "spacing": [1.5, 1.5]},
}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name in ("moving", "fixed"):
        nib.save(nib.Nifti1Image(brain_like(CANVAS), np.diag([1.5, 1.5, 1, 1])), tmp_path / f"{name}.nii")
    pair = ["--moving", str(tmp_path / "moving.nii"), "--fixed", str(tmp_path / "fixed.nii")]
    return [*pair, "--output-prefix", f"{tmp_path}/out/"]


@contextmanager
def answering(handle: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that treats every connection in its own way, and its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def loop() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # closed
                return
            with connection:
                connection.settimeout(10)
                with suppress(OSError):
                    handle(connection)

    threading.Thread(target=loop, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def says(payload: bytes) -> Callable[[socket.socket], object]:
    return lambda connection: (connection.recv(1 << 20), connection.sendall(payload))


def resets(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def http(body: bytes, status: str = "200 OK", more: str = "", length: int | None = None) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n{more}\r\n"
    return head.encode() + body


SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # HTTP/2's, as gRPC sends it
GOAWAY = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02"
LOGIN = b"<html><title>Please log in</title></html>"
DEEP = b"[" * 100_000

WAYS: dict[str, tuple[Callable[[socket.socket], object], str]] = {
    "closed at once": (lambda connection: None, ""),
    "closed behind the request": (lambda connection: connection.recv(1 << 20), ""),
    "reset": (resets, ""),
    "HTTP/2": (says(SETTINGS + GOAWAY), ""),
    "garbage": (says(bytes(range(256)) * 9), ""),
    "an empty line": (says(b"\r\n\r\n"), ""),
    "a web page": (says(http(LOGIN)), ""),
    "not found": (says(http(LOGIN, "404 Not Found")), "has no such model"),
    "a proxy that asks who we are": (
        says(http(LOGIN, "407 Proxy Authentication Required")),
        "HTTP status 407",
    ),
    "a gateway that finds nobody": (says(http(b"", "502 Bad Gateway")), "HTTP status 502 (Bad Gateway)"),
    "a refusal that breaks off": (
        says(http(b"x", "500 Internal Server Error", length=99)),
        "HTTP status 500",
    ),
    "a redirection": (
        says(http(b"", "302 Found", "Location: http://127.0.0.1:9/login\r\n")),
        "HTTP status 302",
    ),
    "half an answer": (says(http(b"{", length=99)), "cannot be reached"),
    "a broken chunk": (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), ""),
    "too many headers": (says(http(b"", more="A: b\r\n" * 200)), ""),
    "another encoding": (says(http(b"\xff\xfe\x00")), "is no PredictionService"),
    "a list": (says(http(b"[]")), "is no PredictionService"),
    "null": (says(http(b"null")), "is no PredictionService"),
    "deep": (says(http(DEEP)), "is no PredictionService"),
    "no outputs": (says(http(b'{"predictions": []}')), "is no PredictionService"),
    "outputs of another model": (says(http(b'{"outputs": {"scores": [1]}}')), "is no PredictionService"),
    "a list of outputs": (says(http(b'{"outputs": [1, 2]}')), "does not say what images it takes"),
    "another description": (says(http(b'{"outputs": "{\\"canvas\\": [4]}"}')), "does not say what images"),
    "not base64": (says(http(b'{"outputs": {"description": {"b64": "?"}}}')), ""),
}


@pytest.mark.parametrize("scheme", ["", "http://"])
@pytest.mark.parametrize("way", WAYS)
def test_whatever_answers_is_one_line(way: str, scheme: str, files: list[str], tmp_path: Path, capfd) -> None:
    handle, cause = WAYS[way]
    with answering(handle) as port:
        error = refused(f"{scheme}127.0.0.1:{port}", files, capfd)
    assert error.startswith(f"error: {scheme}127.0.0.1:{port}, model 'fire': ")
    if scheme:
        assert cause in error
    assert not (tmp_path / "out").exists()


def refused(address: str, files: list[str], capfd, *more: str) -> str:
    """The line that the command ends with; ``capfd`` also hears what gRPC says by itself."""
    with pytest.raises(SystemExit) as stopped:
        main(["--server", address, "--timeout", "20", *more, *files])
    error = capfd.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1, error
    assert error[:-1].isprintable()
    return error


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_silence_ends_with_the_timeout(scheme: str, files: list[str], capfd) -> None:
    released = threading.Event()
    with answering(lambda connection: released.wait(20)) as port:
        error = refused(f"{scheme}127.0.0.1:{port}", files, capfd, "--timeout", "0.5")
        released.set()
    assert "gave no answer in time, see --timeout" in error


def test_an_answer_that_trickles_in_ends_with_the_timeout_too(files: list[str], capfd) -> None:
    def trickle(connection: socket.socket) -> None:
        connection.recv(1 << 20)
        connection.sendall(http(b"", length=10_000))
        for _ in range(200):
            connection.sendall(b" ")
            time.sleep(0.05)

    started = time.monotonic()
    with answering(trickle) as port:
        error = refused(f"http://127.0.0.1:{port}", files, capfd, "--timeout", "0.5")
    assert "gave no answer in time, see --timeout" in error
    assert time.monotonic() - started < 5


class Service(grpc.GenericRpcHandler):
    """Another gRPC service, or one that answers Predict with these bytes."""

    def __init__(self, path: str, *answers: bytes):
        self._path, self._answers = path, iter(answers)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != self._path:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: next(self._answers))


def response(**outputs: object) -> bytes:
    return PredictResponse(
        outputs={key: to_tensor(value) for key, value in outputs.items()}
    ).SerializeToString()


def complete(**changed: object) -> dict[str, np.ndarray]:
    """A right answer, but for what is changed."""
    right = {f"affine_{way}": np.eye(2, 3)[np.newaxis] for way in ("forward", "backward")}
    right |= {f"flow_{way}": np.zeros((1, *CANVAS, 2)) for way in ("forward", "backward")}
    right |= {f"synth_{image}": np.zeros((1, *CANVAS, 1)) for image in ("moving", "fixed")}
    right |= {f"grey_range_{image}": np.array([[0.0, 9.0]]) for image in ("moving", "fixed")}
    return {**right, **changed}


DESCRIBED = response(description=json.dumps(DESCRIPTION).encode())
ANSWERS = {
    "another service": (Service("/other.Service/Predict"), "is no PredictionService of TensorFlow Serving"),
    "no message": (Service(PREDICT, b"\xff\xff\xff"), "is no PredictionService of TensorFlow Serving"),
    "no outputs": (Service(PREDICT, b""), "its answer lacks description"),
    "numbers for a description": (
        Service(PREDICT, response(description=np.zeros(3))),
        "does not say what images it takes",
    ),
    "a model of somebody else": (
        Service(PREDICT, response(description=b'{"canvas": [16, 12], "preprocessing": {}}')),
        "does not say what images it takes",
    ),
    "half of the outputs": (
        Service(PREDICT, DESCRIBED, response(affine_forward=np.eye(2, 3)[np.newaxis])),
        "its answer lacks affine_backward",
    ),
    "another canvas": (
        Service(PREDICT, DESCRIBED, response(**complete(flow_backward=np.zeros((1, 8, 8, 2))))),
        "its answer flow_backward is not one of finite numbers of shape (1, 16, 12, 2)",
    ),
    "NaN": (
        Service(PREDICT, DESCRIBED, response(**complete(affine_forward=np.full((1, 2, 3), np.nan)))),
        "its answer affine_forward is not one of finite numbers",
    ),
    "text": (
        Service(PREDICT, DESCRIBED, response(**complete(synth_fixed=b"text"))),
        "its answer synth_fixed is not",
    ),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_other_answers_by_grpc_are_one_line(what: str, files: list[str], capfd) -> None:
    handler, cause = ANSWERS[what]
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    error = refused(f"127.0.0.1:{port}", files, capfd)
    server.stop(None).wait()
    assert cause in error


def test_a_model_name_is_one_part_of_the_path(files: list[str], capfd) -> None:
    asked: list[bytes] = []

    def note(connection: socket.socket) -> None:
        asked.append(connection.recv(1 << 20))
        connection.sendall(http(json.dumps({"error": "no"}).encode(), "404 Not Found"))

    with answering(note) as port:
        error = refused(f"http://127.0.0.1:{port}", files, capfd, "--model-name", "my model/é?")
    assert asked[0].startswith(b"POST /v1/models/my%20model%2F%C3%A9%3F:predict HTTP/1.1\r\n")
    assert error.endswith("model 'my model/é?': has no such model (no)\n")


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--server", "http://localhost:abc"], "--server http://localhost:abc: expected host:port"),
        (["--server", "localhost:abc"], "--server localhost:abc: expected host:port"),
        (["--server", "localhost:70000"], "--server localhost:70000: expected host:port"),
        (["--server", "http://"], "--server http://: expected host:port"),
        (["--server", "http://me:secret@host:1"], "expected host:port"),
        (["--server", "http://local host:8501"], "expected host:port"),
        (["--server", "http://[::1:8501"], "expected host:port"),
        (["--server", "localhost:1/path"], "expected host:port"),
        (["--server", "h:1", "--timeout", "0"], "--timeout 0: expected seconds above 0"),
        (["--server", "h:1", "--timeout", "-3"], "--timeout -3: expected seconds above 0"),
        (["--server", "h:1", "--timeout", "nan"], "--timeout nan: expected seconds above 0"),
        (["--server", "h:1", "--timeout", "inf"], "--timeout inf: expected seconds above 0"),
        (["--server", "h:1", "--model-name", ""], "--model-name '': expected a name"),
        (
            ["--server", "h:1", "--ca", "nowhere.pem"],
            "--ca nowhere.pem: cannot be used as certificates in PEM (No such",
        ),
        (["--server", "h:1", "--ca", __file__], "cannot be used as certificates in PEM"),
    ],
)
def test_options_that_cannot_be_are_named_before_anything_is_sent(
    arguments: list[str], cause: str, files: list[str], capfd
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, *files])
    error = capfd.readouterr().err
    assert stopped.value.code == 2
    assert cause in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("place", ["[::1]:8500", "host.example:8500"])
def test_addresses_that_can_be(place: str) -> None:
    assert connect(place, "fire", 1.0).place == place
    assert connect(f"http://{place}/prefix/", "fire", 1.0).place == f"http://{place}/prefix"
    assert connect(f"http://{place}", "fire", 1.0, tls=True).place == f"https://{place}"
    encrypted = connect(place, "fire", 1.0, tls=True)
    assert isinstance(encrypted, GrpcServer)
    assert encrypted.tls


def test_channels_are_closed(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened, closed = [], []
    make = grpc.insecure_channel

    def noted(*arguments, **options) -> grpc.Channel:
        channel = make(*arguments, **options)
        opened.append(channel)
        close = channel.close
        monkeypatch.setattr(channel, "close", lambda: (closed.append(channel), close()))
        return channel

    monkeypatch.setattr(grpc, "insecure_channel", noted)
    with answering(lambda connection: None) as port, pytest.raises(SystemExit):
        main(["--server", f"127.0.0.1:{port}", *files])
    assert opened == closed
    assert len(opened) == 1


def test_plain_words_to_an_encrypted_port_and_the_other_way_round(files: list[str], capfd) -> None:
    """A TLS server shuts the door on plain words; encrypted ones are gibberish to a plain server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate: no handshake succeeds

    def encrypted(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True)

    with answering(encrypted) as port:
        for address in (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}"):
            refused(address, files, capfd)
    with answering(says(http(b"[]"))) as port:
        for address in (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"):
            refused(address, files, capfd, "--tls")


def test_grpc_keeps_its_log_to_itself_in_the_clients_own_process(files: list[str]) -> None:
    loud = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    with answering(says(http(b"[]"))) as port:
        command = [sys.executable, "-m", "fire_tf.client", "--server", f"127.0.0.1:{port}", "--tls", *files]
        ended = subprocess.run(command, env=loud, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: 127.0.0.1:{port}, model 'fire': cannot be reached")
    assert ended.stderr.count("\n") == 1


def test_base64_of_a_description_is_read_too() -> None:
    """TensorFlow Serving may write any string so."""
    encoded = base64.b64encode(json.dumps(DESCRIPTION).encode()).decode()
    body = json.dumps({"outputs": {"description": {"b64": encoded}}}).encode()
    with answering(says(http(body))) as port:
        server = connect(f"http://127.0.0.1:{port}", "fire", 20.0)
        assert json.loads(server.predict("describe", {"about": b""}, ("description",))["description"]) == {
            **DESCRIPTION,
            "canvas": list(CANVAS),
        }
