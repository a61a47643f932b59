"""The weights of a rule, with the names of what they are of."""

from typing import Any

import numpy as np
from flax import traverse_util
from numpy.typing import NDArray

from diffpattern.models import monomials
from diffpattern.models.advection import Taxis
from diffpattern.models.nca import NeuralCellularAutomaton
from diffpattern.models.phase_field import PhaseField
from diffpattern.models.reaction import PolynomialReaction
from diffpattern.models.state_network import StateNetwork
from diffpattern.models.updates import Gated
from diffpattern.problem import Problem, given
from diffpattern.report.rule.weights import FirstLayer, Layer

Parameters = Any


def layers(sought: Problem, parameters: Parameters) -> list[Layer]:
    """All matrices of weights; arrays of more axes are written as such."""
    flat = traverse_util.flatten_dict(parameters)
    channels, seen, terms = sought.channel_names, _seen(sought, parameters), _terms(sought)
    layers = []
    for path, leaf in flat.items():
        if leaf.ndim < 2 or path[0] == "mask":
            continue
        words = path[:-1] if path[-1] in ("kernel", "coefficients") else path
        matrix = leaf.reshape(-1, leaf.shape[-1])
        bias = flat.get((*path[:-1], "bias")) if path[-1] == "kernel" else None
        rows, columns, sides = (), (), ("input", "output")
        term = getattr(sought.rule, "terms", {}).get(path[0])
        if path[-2:] == ("output", "kernel") and not isinstance(term, Taxis):  # that of pairs
            columns = channels
            if isinstance(getattr(sought.rule, "update", None), Gated):
                columns += tuple(f"gate of {name}" for name in channels)
        if path[-1] == "coefficients":
            rows, columns, sides = channels, terms.get(path, ()), ("change of", "term")
        if path in seen and len(seen[path]) == len(matrix):
            order, rows = zip(*seen[path], strict=True)
            matrix = matrix[list(order)]
        name = ", ".join(word.replace("_", " ") for word in words)
        layers.append(
            Layer(
                name,
                matrix,
                bias,
                rows if len(rows) == len(matrix) else (),
                columns if len(columns) == matrix.shape[1] else (),
                sides,
            )
        )
    return layers


def _seen(sought: Problem, parameters: Parameters) -> dict[tuple[str, ...], list[tuple[int, str]]]:
    """Places and names of what automata see, by the path of the weights that it is multiplied by.

    They go from kernel to kernel, where features may go from one component of a gradient to the
    next: of rows that are thinned, those of all kernels are told.
    """
    if not isinstance(sought.rule, NeuralCellularAutomaton):
        return {}
    features = list(enumerate(_features(sought, parameters)))
    kernels = list(dict.fromkeys(kernel for _, (kernel, _) in features))
    features.sort(key=lambda feature: kernels.index(feature[1][0]))
    named = [(place, " ".join(feature)) for place, feature in features]
    return {("update", *path): named for path in _first_kernels(parameters["update"])}


def _terms(sought: Problem) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The terms of polynomials, by the path of their coefficients."""
    species, found = sought.statistics.species, {}
    for name, term in getattr(sought.rule, "terms", {}).items():
        if isinstance(term, PolynomialReaction | PhaseField):
            lowest = 0 if isinstance(term, PolynomialReaction) else 1
            powers = monomials.exponents(len(species), lowest, term.order)
            found[name, "coefficients"] = monomials.names(powers, species)
    return found


def _features(sought: Problem, parameters: Parameters) -> tuple[tuple[str, str], ...]:
    """What a cell of an automaton sees: through which kernel, and what."""
    fields = sought.acting(parameters, given(sought.statistics)).environment
    environment = [f"field {place + 1}" for place in range(0 if fields is None else len(fields))]
    axes = sought.statistics.grid.ndim
    return sought.rule.perception.features(sought.channel_names, environment, axes)


def _first_kernels(network: Parameters) -> dict[tuple[str, ...], NDArray]:
    """The matrices of a network that are applied to what it sees, by their path."""
    kernels = {
        path: leaf
        for path, leaf in traverse_util.flatten_dict(network).items()
        if path[-1] == "kernel"
    }
    first = {"hidden_0", "query", "key", "value"}
    chosen = {path: leaf for path, leaf in kernels.items() if path[-2] in first}
    return chosen or kernels


def first_layers(sought: Problem, parameters: Parameters) -> list[FirstLayer]:
    """The weights of what networks see, and its names."""
    rule = sought.rule
    if isinstance(rule, NeuralCellularAutomaton):
        features = _features(sought, parameters)
        parts = [
            # Of radial bases, one block of features after the other.
            kernel.reshape(-1, len(features), kernel.shape[1]).swapaxes(0, 1)
            for kernel in _first_kernels(parameters["update"]).values()
        ]
        matrix = np.concatenate([part.reshape(len(features), -1) for part in parts], axis=1)
        kernels, seen = zip(*features, strict=True)
        remark = "Views have different units: a Laplacian is one per length squared."
        return [FirstLayer("the update", matrix, seen, kernels, remark)]
    layers = []
    for name, term in getattr(rule, "terms", {}).items():
        if isinstance(network := getattr(term, "network", None), StateNetwork):
            (kernel, *_) = _first_kernels(parameters[name]).values()
            layers.append(_of_monomials(name, network, kernel, sought))
    return layers


def _of_monomials(name: str, network: StateNetwork, kernel: NDArray, sought: Problem) -> FirstLayer:
    """The weights of a network's monomials, each as if it were given in standard deviations.

    The network sees whitened monomials z = W (m - mean); the weights of m are W' times its own.
    """
    powers, whitening = network.monomials(sought.channels)
    matrix = np.asarray(whitening.matrix)
    deviations = np.sqrt(np.diag(np.linalg.inv(matrix.T @ matrix)))
    weights = deviations[:, None] * (matrix.T @ kernel[: len(powers)])
    names = monomials.names(powers, sought.statistics.species)
    fields = kernel[len(powers) :]
    names += tuple(f"field {place + 1}" for place in range(len(fields)))
    remark = "Weights are for one standard deviation of each monomial in the training data."
    return FirstLayer(
        f"the network of {name.replace('_', ' ')}",
        np.concatenate([weights, fields]),
        names,
        remark=remark,
    )
