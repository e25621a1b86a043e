"""Whether the page of a large cohort opens: its size, and what headless Chromium takes to show its beginning.

    python benchmarks/cohort_page.py [--pairs 10000] [--example out/P_NAME]

Makes up a cohort in a temporary folder: statuses with random numbers, and thumbnails that are copies of one, of a real
pair where ``--example`` names it. The page is joined by ``register --summary`` and opened in a browser that is led by
its debugging protocol (with ``--screenshot`` alone it loads all images at once), from a server on this machine, which
counts what is asked for, and from disk. The view of its middle is kept as cohort_page.png.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import urlopen

import numpy as np
from PIL import Image
from tornado.websocket import WebSocketClientConnection, websocket_connect

NUMBERS = ("similarity_before", "similarity", "inverse_similarity", "inverse_consistency_mm", "volume_ratio")
NUMBERS += ("folded_percent", "inverse_folded_percent", "field_of_view_overlap", "seconds")


class Counting(SimpleHTTPRequestHandler):
    """Serves a folder and remembers the thumbnails that were asked for."""

    asked: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        if self.path.endswith(".webp"):
            self.asked.add(self.path)
        super().do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


def make_up(folder: Path, pairs: int, example: str | None) -> None:
    """A manifest, and the status and the thumbnail of each of its pairs."""
    random = np.random.default_rng(0)
    if example:
        shutil.copy(f"{example}_thumb.webp", folder / "thumb.webp")
    else:
        noise = random.integers(0, 256, (48, 90)).astype(np.uint8)
        Image.fromarray(noise).resize((720, 388)).save(folder / "thumb.webp", quality=75)
    lines = ["moving,fixed,name"]
    for number in range(pairs):
        name = f"sub-{number:05d}"
        images = {role: str(folder / "scans" / name / f"{role}.nii.gz") for role in ("moving", "fixed")}
        numbers = {key: round(float(random.uniform(0.5, 1)), 4) for key in NUMBERS}
        numbers["warnings"] = [f"{images['moving']}: looks odd"] if number % 50 == 0 else []
        status = {"state": "failed", **images, "error": f"{images['fixed']}: no such file"}
        if number % 100:
            status = {"state": "done", **images, "numbers": numbers}
            shutil.copy(folder / "thumb.webp", folder / f"P_{name}_thumb.webp")
        (folder / f"P_{name}_status.json").write_text(json.dumps(status))
        lines.append(f"{images['moving']},{images['fixed']},{name}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")


class Browser:
    """A tab of headless Chromium."""

    def __init__(self, connection: WebSocketClientConnection):
        self.connection = connection
        self.count = 0

    @classmethod
    async def start(cls, folder: Path) -> Browser:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"]
        command += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = folder / "DevToolsActivePort"
        while not told.is_file() or not told.read_text():
            await asyncio.sleep(0.1)
        with urlopen(f"http://127.0.0.1:{told.read_text().split()[0]}/json") as answer:
            tab = next(entry for entry in json.load(answer) if entry["type"] == "page")
        return cls(await websocket_connect(tab["webSocketDebuggerUrl"], max_message_size=2**30))

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.count += 1
        await self.connection.write_message(
            json.dumps({"id": self.count, "method": method, "params": parameters})
        )
        while True:
            answer = json.loads(await self.connection.read_message() or "{}")
            if answer.get("id") == self.count:
                return answer["result"]

    async def value(self, expression: str) -> Any:
        return (await self.call("Runtime.evaluate", expression=expression))["result"].get("value")

    async def seconds_to_open(self, address: str) -> float:
        started = time.perf_counter()
        await self.call("Page.navigate", url=address)
        while await self.value("location.href + document.readyState") != f"{address}complete":
            await asyncio.sleep(0.05)
        return time.perf_counter() - started


async def look(folder: Path, server: str, profile: Path) -> None:
    """Open the page, go to its middle and take a picture of that."""
    browser = await Browser.start(profile)
    for place in (server, f"file://{folder}"):
        Counting.asked.clear()
        opened = await browser.seconds_to_open(f"{place}/P_summary.html")
        await asyncio.sleep(3)
        shown, first = await browser.value("document.querySelectorAll('article').length"), len(Counting.asked)
        await browser.value(
            "document.querySelectorAll('article')[Math.floor(document.querySelectorAll('article')"
            ".length / 2)].scrollIntoView()"
        )
        await asyncio.sleep(3)
        asked = f", {first} thumbnails asked for, {len(Counting.asked)} after a jump to the middle"
        print(
            f"{place.split(':')[0]}: {shown} pairs, open in {opened:.1f} s{asked if place == server else ''}"
        )
    picture = await browser.call("Page.captureScreenshot")
    Path("cohort_page.png").write_bytes(base64.b64decode(picture["data"]))
    await browser.call("Browser.close")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument(
        "--example", help="what the files of a registered pair begin with, without the last _"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as profile:
        folder = Path(made)
        make_up(folder, chosen.pairs, chosen.example)
        register = [sys.executable, "-m", "fire_tf.register", "--batch", f"{folder}/pairs.csv"]
        started = time.perf_counter()
        subprocess.run([*register, "--output-prefix", f"{folder}/P_", "--summary"], check=False)
        seconds = time.perf_counter() - started
        size = (folder / "P_summary.html").stat().st_size
        print(f"--summary in {seconds:.1f} s, a page of {size / 1e6:.1f} MB")
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, directory=made))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asyncio.run(look(folder, f"http://127.0.0.1:{server.server_port}", Path(profile)))
        server.shutdown()


if __name__ == "__main__":
    main()
