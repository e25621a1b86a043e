"""Run notebooks from top to bottom and keep their outputs in them, as the repository holds them.

    python notebooks/run.py                                             all on generated images, as the tests do
    FIRE_CINE=FOLDER python notebooks/run.py notebooks/04_cine.ipynb    on real hearts

What they write lies in ``notebooks/output/``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main() -> None:
    for path in map(Path, sys.argv[1:] or sorted(HERE.glob("*.ipynb"))):
        notebook = nbformat.read(path, as_version=4)
        # Progress bars are kept as they end; times of execution would differ every time.
        client = NotebookClient(
            notebook,
            timeout=3600,
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": str(HERE)}},
        )
        client.execute()
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
