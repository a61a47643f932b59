"""The package has the floors that docs/design.md says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "diffpattern").rglob("*.py")
    # Configs are read by `configuration`, and may ask for anything; the package's own file imports
    # what it is asked for.
    if "configs" not in path.parts and path.relative_to(ROOT / "diffpattern").name != "__init__.py"
)


def floors() -> dict[str, int]:
    """How many rows of the table stand above a module or a folder of them."""
    page = (ROOT / "docs" / "design.md").read_text()
    rows = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    return {name: row for row, cell in enumerate(rows) for name in re.findall(r"`(\w+)/?`", cell)}


def imported(path: Path) -> Iterator[str]:
    """The modules and folders right below the package that a module imports from."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "diffpattern":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("diffpattern."):
            yield node.module.split(".")[1]


def test_every_module_has_a_floor():
    rooms = {path.with_suffix("").parts[1] for path in MODULES}
    assert rooms == set(floors())


def test_each_floor_imports_only_those_below():
    below = floors()
    upwards = {
        f"{path} imports {name}"
        for path in MODULES
        for name in imported(path)
        if below.get(name, len(below)) < below[path.with_suffix("").parts[1]]
    }
    assert not upwards
    assert sum(len(list(imported(path))) for path in MODULES) > 300
