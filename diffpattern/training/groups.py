"""Groups of parameters, named by the first components of their paths.

"network" names everything of the term `network`, "network/hidden_0" its first layer,
"network/hidden_0/bias" one array of that. Where several names fit an array, the longest holds.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import jax
import optax
from jax import Array

from diffpattern.errors import InputError

PyTree = Any


def paths(parameters: PyTree) -> PyTree:
    """The path of each array, such as "network/hidden_0/kernel", in its place."""
    name = lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/")
    return jax.tree_util.tree_map_with_path(name, parameters)


def by_path(tree: PyTree) -> dict[str, Any]:
    """The arrays by their paths, as `paths` has them."""
    return dict(zip(jax.tree.leaves(paths(tree)), jax.tree.leaves(tree), strict=True))


def layer_norms(tree: PyTree, name: str) -> dict[str, Array]:
    """The Euclidean norm over the arrays of each layer.

    A layer is what paths name up to their last component: "network/hidden_0" is one, with the
    arrays "kernel" and "bias".

    Args:
      tree: arrays, like the parameters.
      name: of what they are, which the layer's name is put behind: "gradient_norm" makes it
        "gradient_norm/network/hidden_0".
    """
    layers = defaultdict(list)
    for path, leaf in by_path(tree).items():
        layers[path.rpartition("/")[0] or path].append(leaf)
    return {f"{name}/{layer}": optax.global_norm(leaves) for layer, leaves in layers.items()}


def spread_out(
    named: Mapping[str, Any], otherwise: Any, parameters: PyTree, *, field: str
) -> PyTree:
    """What each array gets, of what is given to groups.

    Args:
      named: value by the name of a group.
      otherwise: value of arrays that are in none.
      parameters: arrays, or their shapes.
      field: of the config, which the names come from.

    Returns:
      A pytree like `parameters`, of the values.

    Raises:
      InputError: there are no parameters of some name.
    """
    every = paths(parameters)
    for name in named:
        if not any(_within(path, name) for path in jax.tree.leaves(every)):
            raise InputError(
                f"{field} names {name!r}, but the parameters of the rule are "
                f"{', '.join(jax.tree.leaves(every))}; give one of these paths, or how it begins."
            )

    def value(path: str) -> Any:
        fitting = [name for name in named if _within(path, name)]
        return named[max(fitting, key=len)] if fitting else otherwise

    return jax.tree.map(value, every)


def _within(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}/")
