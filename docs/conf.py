"""The site: ``python -m sphinx -E -W -q -c docs . build/site``.

The sources' root is the repository's, so that a link between pages, notebooks and code is the same here and on GitHub.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import Any

os.environ.update(COLUMNS="100", MPLBACKEND="Agg")  # the width of the commands' help

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import fire_tf.__main__ as front_door
from fire_tf import __version__

project = "fire_tf"
author = "the authors of fire_tf"
release = version = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/*.ipynb",
    "fire_tf/weights/*/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
html_theme = "furo"
html_title = f"fire_tf {release}"
nb_execution_mode = "off"  # their outputs are kept, and tests run them
myst_heading_anchors = 3
default_role = "code"  # `name` in docstrings is code, as in Markdown
autodoc_member_order = "bysource"
autodoc_typehints = "description"
add_module_names = False


class CommandHelp(SphinxDirective):
    """What ``fire-tf COMMAND --help`` prints."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            front_door.main([self.arguments[0], "--help"])
        return [nodes.literal_block(text=printed.getvalue(), language="text")]


def lead_on(app: Sphinx, page: str, source: list[str]) -> None:
    """Make each list of links of the index an entry of the side bar, which Markdown has no word for."""
    if page != root_doc:
        return
    for section in re.split(r"(?m)^(?=## )", source[0])[1:]:
        links = re.findall(r"(?m)^- \[.*?\]\((.*?)\)", section)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {section[3:].splitlines()[0]}\n\n"
        source[0] += "\n".join(links) + "\n```\n"


def escape(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are written to be read as they stand: outside of code a * is a star and a | a bar."""
    text = re.sub(r"(`+[^`]+`+)|([*|])", lambda found: found[1] or "\\" + found[2], "\n".join(lines))
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("command-help", CommandHelp)
    app.connect("source-read", lead_on)
    app.connect("autodoc-process-docstring", escape)
    return {"parallel_read_safe": True}
