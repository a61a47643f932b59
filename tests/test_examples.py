"""Whatever the reference lists says how it is used, in examples that are run here.

A method needs no example of its own where another one is there for it by rule: see `_shown_by`.
"""

import doctest
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffpattern
from diffpattern import Grid
from diffpattern.grid.forcing import Forcing
from diffpattern.models.monomials import Whitening
from diffpattern.models.state_network import StateNetwork

pytestmark = pytest.mark.xdist_group("test_examples")

ROOT = Path(__file__).parents[1]
LISTED = re.findall(r"automodule:: (\S+)", (ROOT / "docs" / "reference.md").read_text())
# What the reference says that its examples begin with, beside the names of their module.
GIVEN = {
    "diffpattern": diffpattern,
    "jax": jax,
    "jnp": jnp,
    "np": np,
    "Grid": Grid,
    "Forcing": Forcing,
    "network": StateNetwork(Whitening((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0))), hidden=(8,)),
}
# Whose examples train a run, or need one that was trained.
TRAINING = "diffpattern.api.fitting", "diffpattern.api.loading"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def test_what_the_package_offers_is_in_the_reference():
    for name in diffpattern.__all__:
        assert getattr(diffpattern, name).__module__ in LISTED


def test_what_the_reference_lists_is_checked_for_its_types():
    with (ROOT / "pyproject.toml").open("rb") as file:
        checked = [Path(name) for name in tomllib.load(file)["tool"]["mypy"]["files"]]
    for name in LISTED:
        path = Path(*name.split(".")).with_suffix(".py")
        assert any(path.is_relative_to(place) for place in checked), path


@pytest.mark.parametrize("name", LISTED)
def test_all_that_is_public_has_an_example(name):
    module = importlib.import_module(name)
    for qualified, owner, member in _public(module):
        assert member.__doc__, f"{qualified} has no docstring"
        shown = _examples(member) or (owner and _shown_by(module, owner, qualified, member))
        assert shown, f"{qualified} has no example"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in TRAINING)) for name in LISTED],
)
def test_examples_do_what_they_say(name, quick_compilation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    given = vars(module) | GIVEN | {"__name__": "__main__"}
    if name == "diffpattern.api.loading":
        given["run"] = _trained("runs/mine")
    runner, told = doctest.DocTestRunner(optionflags=FLAGS, verbose=False), []
    for qualified, member in [(name, module)] + [(q, member) for q, _, member in _public(module)]:
        text = inspect.cleandoc(member.__doc__ or "")
        example = doctest.DocTestParser().get_doctest(text, given, qualified, name, 0)
        runner.run(example, out=told.append)
    assert runner.tries > 0
    assert not told, "".join(told)


def test_what_an_example_does_not_say_is_told():
    runner, told = doctest.DocTestRunner(optionflags=FLAGS, verbose=False), []
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "a.wrong.example", "", 0)
    runner.run(wrong, out=told.append)
    assert "a.wrong.example" in "".join(told)


def _trained(folder: str) -> diffpattern.Run:
    """The run that the example of `fit` makes, and others read."""
    data = diffpattern.simulate("gray_scott", (8, 8), range(0, 65, 16), count=2)
    config = diffpattern.default_config()
    config.training.steps = 2
    config.model.rda.polynomial.order = 1
    config.evaluation.report = False
    return diffpattern.fit(data, config, folder)


def _public(module: ModuleType) -> Iterator[tuple[str, type | None, Any]]:
    """Functions and classes of a module and its classes' methods and properties, each with a name
    and, of the latter two, the class."""
    for name, member in list(vars(module).items()):
        if name.startswith("_") or not _made_in(module, member):
            continue
        yield f"{module.__name__}.{name}", None, member
        for inner, method in vars(member).items() if inspect.isclass(member) else ():
            if isinstance(method, classmethod | staticmethod):
                method = method.__func__
            function = method.fget if isinstance(method, property) else method
            named = not inner.startswith("_") or inner == "__call__"
            # The default of a field may be a function too.
            named = named and inner not in getattr(member, "__dataclass_fields__", {})
            if named and inspect.isroutine(function) and _made_in(module, function):
                yield f"{module.__name__}.{name}.{inner}", member, method


def _made_in(module: ModuleType, member: Any) -> bool:
    """Whether a function, be it wrapped, or a class is a module's own."""
    kind = inspect.isclass(member) or inspect.isroutine(inspect.unwrap(member))
    return kind and getattr(member, "__module__", None) == module.__name__


def _examples(member: Any) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.cleandoc(member.__doc__ or ""))


def _shown_by(module: ModuleType, owner: type, qualified: str, member: Any) -> bool:
    """Whether another example tells how a method is called.

    A call of an object is in its class's example, and so may a property be. What a public base or a
    protocol declares is told there, and what all classes of a module have in its docstring.
    """
    name = qualified.rpartition(".")[2]
    if name == "__call__":
        return bool(_examples(owner))
    if any(name in vars(base) and base.__name__[0] != "_" for base in owner.__mro__[1:]):
        return True
    if isinstance(member, property):
        return any(f".{name}" in example.source for example in _examples(owner))
    reference = re.match(r"See (?:`(\w+)`|the (module)'s docstring)", member.__doc__)
    if reference is None:
        return False
    protocol, of_module = reference.groups()
    return bool(_examples(module)) if of_module else hasattr(vars(module).get(protocol), name)
