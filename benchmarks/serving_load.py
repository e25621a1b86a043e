"""What a served model costs beside the same model in this process, and whether a server's memory grows.

    python benchmarks/serving_load.py --model served/fire [--small 10000] [--full 500] [--seconds 600]

``--model`` is a folder that ``python -m fire_tf.export`` wrote, of the full-size 2D model. The server is
``serving/loopback.py`` in a process of its own, or, with ``--server host:port --rest http://host:port``, one that runs
already. Three parts, each ended by its number of requests or by ``--seconds``:

1. latency of one request at a time: the signature in this process, over gRPC and over REST, in turn, so that a busy
   machine slows them alike. Target: the median over gRPC is at most 1.2 times that in process.
2. ``--full`` requests to the model over gRPC, two at a time: requests per second, the server's memory before and after.
3. ``--small`` requests to a small model in a loopback server of its own, the same way.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from fire_tf.model.fire import FIRE
from fire_tf.networks.affine import AffineNetwork
from fire_tf.networks.nonrigid import NonRigidNetwork
from fire_tf.networks.synthesis import Decoder, Encoder
from fire_tf.networks.transformation import TransformationNetwork
from fire_tf.serving.saved_model.export import export_model
from fire_tf.serving.transports import Server, connect, describe

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

TARGET = 1.2
LOOPBACK = Path(__file__).parent.parent / "serving" / "loopback.py"
ALL = ("warped_moving", "warped_fixed", "synth_moving", "synth_fixed", "flow_forward", "flow_backward")


def pair(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Two images of noise; what they show does not change what a registration costs."""
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0, 900, (1, *shape, 1)).astype(np.float32) for name in ("moving", "fixed")}


def in_process(folder: Path) -> Callable[[dict[str, np.ndarray]], object]:
    """The newest version's signature, run here."""
    newest = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    loaded = tf.saved_model.load(str(folder / str(newest)))
    run = loaded.signatures["serving_default"]

    def call(images: dict[str, np.ndarray]) -> object:
        _ = loaded  # must outlive its signatures
        found = run(**{name: tf.constant(image) for name, image in images.items()})
        return {name: found[name].numpy() for name in ALL}

    return call


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def compare(calls: dict[str, Callable[[], object]], count: int, seconds: float) -> dict[str, np.ndarray]:
    """Seconds of each call, made in turn, after two that are not counted."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    stop = time.perf_counter() + seconds
    for number in range(count + 2):
        for name, call in calls.items():
            taken = timed(call)
            if number > 1:
                found[name].append(taken)
        if number > 3 and time.perf_counter() > stop:
            break
    return {name: np.array(values) for name, values in found.items()}


def load(
    call: Callable[[], object], count: int, seconds: float, at_once: int = 2
) -> tuple[np.ndarray, float]:
    """Seconds of each of ``count`` calls, ``at_once`` side by side, and of all; ends early after ``seconds``."""
    started = time.perf_counter()

    def one(_: int) -> float:
        return timed(call) if time.perf_counter() - started < seconds else np.nan

    with ThreadPoolExecutor(at_once) as pool:
        taken = np.array(list(pool.map(one, range(count))))
    return taken[np.isfinite(taken)], time.perf_counter() - started


def memory(process: int) -> float:
    """Resident memory of a process in MiB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1024


def start_loopback(folder: Path, stack: ExitStack) -> tuple[int, str, str]:
    """A loopback server of a folder: its process, its gRPC and its REST address."""
    command = [sys.executable, str(LOOPBACK), "--model", str(folder)]
    server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    stack.callback(server.terminate)
    ports = re.findall(r"on (\d+)", server.stdout.readline())
    return server.pid, f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"


def small_model() -> FIRE:
    """A model whose computation takes about as long as its message."""
    filters, strides, canvas = (2, 2), [(2, 2)], (16, 16)
    t = [
        TransformationNetwork(AffineNetwork(canvas, (2, 2), (2,), 2, 4), NonRigidNetwork(2, 2, ()))
        for _ in "ab"
    ]
    networks = (network(filters, strides, 0) for network in (Encoder, Decoder, Decoder))
    model = FIRE(*networks, *t, canvas)
    model.preprocessing = {"modality_a": "A", "modality_b": "B", "spacing": [1.0, 1.0], "percentile": 99.5}
    return model


def report_load(server: Server, count: int, seconds: float, process: int | None) -> None:
    """Put a load on a server's model and print what came of it."""
    images = pair(canvas_of(server))

    def call() -> object:
        return server.predict("serving_default", images, ALL)

    def resident() -> str:
        return f"{memory(process):.0f} MiB" if process else "unknown"

    first, _ = load(call, max(2, count // 20), seconds)  # the memory that the first requests take stays taken
    before = resident()
    taken, whole = load(call, count, seconds)
    p50, p95 = np.percentile(taken, [50, 95]) * 1000
    print(f"{len(taken)} requests, {len(taken) / whole:.1f} per second, p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    print(f"server's memory: {before} after the first {len(first)}, {resident()} after all of them")


def report_latency(folder: Path, server: Server, rest: Server | None, count: int, seconds: float) -> None:
    """Compare the protocols with the signature run here, one request at a time."""
    canvas, local = canvas_of(server), in_process(folder)
    images = pair(canvas)
    calls: dict[str, Callable[[], object]] = {
        "in process": lambda: local(images),
        "gRPC": lambda: server.predict("serving_default", images, ALL),
    }
    if rest:
        calls["REST"] = lambda: rest.predict("serving_default", images, ALL)
    found = compare(calls, count, seconds)
    print(f"canvas {'x'.join(map(str, canvas))}, {len(found['gRPC'])} requests each, one at a time")
    own = np.median(found["in process"])
    for name, taken in found.items():
        p50, p95 = np.percentile(taken, [50, 95]) * 1000
        print(f"{name:<12}p50 {p50:7.1f} ms   p95 {p95:7.1f} ms   {np.median(taken) / own:.2f} of in process")
    print(f"target: gRPC's median at most {TARGET:g} times that in process")


def canvas_of(server: Server) -> tuple[int, ...]:
    """The canvas of the server's model."""
    return tuple(describe(server)["canvas"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the versions of the model")
    parser.add_argument(
        "--server", help="host:port of a running server (default: serving/loopback.py is started)"
    )
    parser.add_argument("--rest", help="its URL for REST")
    parser.add_argument("--server-pid", type=int, help="its process, for its memory")
    parser.add_argument("--latency", type=int, default=50, help="requests of the first part")
    parser.add_argument("--full", type=int, default=500, help="requests of the second part")
    parser.add_argument("--small", type=int, default=10_000, help="requests of the third part")
    parser.add_argument("--seconds", type=float, default=600.0, help="longest time of each part")
    options = parser.parse_args()
    with ExitStack() as stack:
        process, address, url = options.server_pid, options.server, options.rest
        if not address:
            process, address, url = start_loopback(options.model, stack)
        server = connect(address, "fire", 120.0)
        rest = connect(url, "fire", 120.0) if url else None
        report_latency(options.model, server, rest, options.latency, options.seconds)
        print("full size, two at a time:")
        report_load(server, options.full, options.seconds, process)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        export_model(small_model(), folder)
        process, address, _ = start_loopback(folder, stack)
        print("a small model, two at a time:")
        report_load(connect(address, "fire", 120.0), options.small, options.seconds, process)


if __name__ == "__main__":
    main()
