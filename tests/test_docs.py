"""The pages become a site without a warning or a dead link and without network; notebooks run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_for_nothing(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in tmp_path.glob("*.html")}
    assert pages >= {path.stem for path in (ROOT / "docs").glob("*.md")}
    notebooks = {path.stem for path in NOTEBOOKS}
    assert notebooks and {path.stem for path in tmp_path.glob("notebooks/*.html")} == notebooks
    for path in tmp_path.rglob("*.html"):
        text = path.read_text()
        assert not re.findall(r"""<(?:script|img)[^>]*\ssrc=["']?(?:https?:)?//""", text), path
        assert not re.findall(r"""<link[^>]*\shref=["']?(?:https?:)?//""", text), path
    reference = (tmp_path / "reference.html").read_text()
    assert "diffpattern.api.loading.Run.rollout" in reference
    # Stars are escaped in prose and never in an example.
    assert "Example" in reference and r"\*" not in reference


def test_what_the_readme_links_to_is_there():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)", text)
    assert len(links) > 20
    for link in links:
        assert link.startswith("http") or (ROOT / link).is_file(), link


def test_the_example_of_images_gives_what_it_says():
    page = (ROOT / "docs" / "data.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(program, names)
    told = re.findall(r"^(logo\S+)  # (\([^)]*\))", program, re.MULTILINE)
    assert len(told) == 2
    for expression, value in told:
        assert eval(expression, names) == eval(value)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_is_kept(path):
    """From the repository's root, with the package that is there, on one device."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells), "kept with its outputs"
    resources = {"metadata": {"path": str(ROOT)}}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    client = nbclient.NotebookClient(notebook, timeout=600, resources=resources)
    client.execute(env=environment)
    assert all(cell.execution_count for cell in cells)
