"""How Sphinx makes a site of these pages: `sphinx-build -W docs site`, without network.

Pages are Markdown (MyST), and notebooks, which are shown as they are kept: without what their cells
give. The reference comes from the docstrings, which are plain text in
sections, with equations indented: `_as_restructured` makes of them what Sphinx reads.
"""

import json
import re
import sys
from pathlib import Path

from myst_parser.parsers.sphinx_ import MystParser

sys.path.insert(0, str(Path(__file__).parents[1]))

import diffpattern

project = "diffpattern"
release = diffpattern.__version__
copyright = "the diffpattern authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".ipynb": "notebook"}
exclude_patterns = ["site"]
html_theme = "furo"
html_title = "diffpattern"
html_static_path = []
# A link within these pages that leads nowhere is an error, headings included.
myst_heading_anchors = 3
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Source", "Related"]
default_role = "code"

_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Source|Related|Example)s?:\s*$")


def _as_restructured(app, what, name, obj, options, lines):
    """Indented equations become literal blocks, and stars stars, but for those of examples."""
    made, literal, in_section, in_example = [], False, False, False
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent == 0:
            literal, in_section = False, bool(_SECTION.match(line))
            in_example = line.startswith("Example")
        elif (
            indent >= 4 and not (literal or in_section) and number and not lines[number - 1].strip()
        ):
            made += ["::", ""]
            literal = True
        made.append(line if literal or in_example else re.sub(r"(?<!`)([*|])", r"\\\1", line))
    lines[:] = made


class Notebooks(MystParser):
    """Markdown out of a notebook's cells, those of Python as blocks of code."""

    supported = ("notebook",)

    def parse(self, inputstring, document):
        """See `MystParser.parse`."""
        cells = []
        for cell in json.loads(inputstring)["cells"]:
            text = "".join(cell["source"])
            cells.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
        super().parse("\n\n".join(cells), document)


def setup(app):
    """Notebooks are read, and docstrings changed before napoleon sees them."""
    app.add_source_parser(Notebooks)
    app.connect("autodoc-process-docstring", _as_restructured, priority=100)
