"""Sphinx configuration: Markdown and the notebook by MyST, furo, the API by autodoc, pictures drawn by training.

sphinx-build -W -b html docs docs/_build"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import generate  # noqa: E402
import pictures  # noqa: E402

from twolayer.utils.version import __version__  # noqa: E402

REPOSITORY = "https://github.com/twolayer/twolayer"

project = "twolayer"
author = "The twolayer authors"
copyright = f"2026, {author}"
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_math_renderer = "mathml"  # shown by the browser itself: no script, and no other server is asked
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
nb_execution_mode = "off"  # the notebook is shown with its stored outputs; tests/test_docs.py runs it and compares them
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
default_role = "code"  # a name in single backticks, as the docstrings have it
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
nitpicky = False

html_theme = "furo"
html_title = f"twolayer {release}"
html_static_path: list[str] = []
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}


def link_to_the_repository(app: object, name: str, source: list[str]) -> None:
    """Turn links to files outside docs/ into links to the repository."""
    up = "../" * (name.count("/") + 1)
    source[0] = re.sub(rf"\]\({re.escape(up)}(?!\.)([^)]+)\)", rf"]({REPOSITORY}/blob/main/\1)", source[0])


def plain_docstring(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escape what the plain docstrings write and reStructuredText would read as markup: `*`, `|` and `name_`."""
    for number, line in enumerate(lines):
        pieces = re.split(r"(`[^`]*`)", line)
        pieces[::2] = [re.sub(r"(?<!\\)([*|]|(?<=\w)_(?!\w))", r"\\\1", piece) for piece in pieces[::2]]
        lines[number] = "".join(pieces)


def show_math(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """Write an equation as MathML."""
    translator.body.append(tex2mathml(node.astext().strip(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def setup(app: object) -> None:
    """Write the generated pages and the pictures before the build, and register the two filters."""
    generate.main()
    pictures.main()
    app.add_html_math_renderer("mathml", (show_math, None), (show_math, None))  # type: ignore[attr-defined]
    app.connect("source-read", link_to_the_repository)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", plain_docstring)  # type: ignore[attr-defined]
