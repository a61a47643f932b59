"""Rules as a config describes them: its parts by name, put together.

Every part is a class of `models`, and its section of the config holds that class's attributes; the
tables here say which name means which. A new part is one more line.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from diffpattern import parts
from diffpattern.data.statistics import Statistics
from diffpattern.errors import InputError
from diffpattern.models import advection, diffusion, finishing, perception, reaction, updates
from diffpattern.models.chemotaxis import chemotaxis
from diffpattern.models.nca import Finishing, NeuralCellularAutomaton
from diffpattern.models.phase_field import PhaseField
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.source import Source
from diffpattern.models.state_network import StateNetwork
from diffpattern.models.term import Term

PERCEPTIONS: dict[str, type[nn.Module]] = {
    "stencils": perception.Stencils,
    "learnt": perception.Learnt,
    "multi_scale": perception.MultiScale,
    "steerable": perception.Steerable,
}

UPDATES: dict[str, type[nn.Module]] = {
    "network": updates.Network,
    "gated": updates.Gated,
    "attention": updates.Attention,
    "kan": updates.KolmogorovArnold,
}

FINISHINGS: dict[str, Callable[[ConfigDict, Statistics], Finishing]] = {
    "bounded": lambda nca, statistics: finishing.Bounded(len(statistics.species)),
    "alive": lambda nca, statistics: finishing.Alive(**nca.alive),
}


def is_automaton(model: ConfigDict) -> bool:
    """Whether a rule makes steps by itself; else it is the right-hand side of a PDE.

    Raises:
      InputError: it is one of the user's own that cannot be loaded.
    """
    return model.name == "nca" or (parts.is_own(model.name) and not issubclass(_own(model), Term))


def own_parts(model: ConfigDict) -> dict[str, type[nn.Module]]:
    """The classes of the user's own of which a rule is made, by the names in the config.

    Raises:
      InputError: one of them cannot be loaded.
    """
    if parts.is_own(model.name):
        return {model.name: _own(model)}
    terms = filter(parts.is_own, model.rda.terms if model.name == "rda" else ())
    return {name: parts.load_class(name, "model.rda.terms", Term) for name in terms}


def _own(model: ConfigDict) -> type[nn.Module]:
    return parts.load_class(model.name, "model.name", nn.Module)


def _made(name: str, model: ConfigDict, statistics: Statistics) -> nn.Module:
    """A part of the user's own, given what it asks for by the names of its attributes.

    Raises:
      InputError: it asks for more than there is.
    """
    kind = own_parts(model)[name]
    known = {
        "grid": statistics.grid,
        "species": statistics.species,
        "channels": model.nca.channels,
        **model.own,
    }
    taken = {name: known[name] for name in parts.attributes(kind) if name in known}
    try:
        return kind(**taken)
    except TypeError as error:
        raise InputError(
            f"{name} cannot be made of {', '.join(taken) or 'nothing'} ({error}); model.own may "
            "give what is missing."
        ) from error


def automaton(model: ConfigDict, statistics: Statistics) -> nn.Module:
    """The automaton that the section `model.nca`, or a class of the user's own, describes.

    A class of the user's own is given a grid whose walls have values for hidden channels too, zero
    where they are given for each species.

    Raises:
      InputError: it has fewer channels than the data have species, or walls have values for others.
    """
    fields, grid = model.nca, statistics.grid
    if fields.channels < len(statistics.species):
        raise InputError(
            f"model.nca.channels is {fields.channels}, but the data have "
            f"{len(statistics.species)} species, which come first among the channels."
        )
    for wall in (wall for walls in grid.boundary for wall in (walls.lower, walls.upper)):
        if wall.species not in (None, len(statistics.species)):
            raise InputError(
                f"data.boundary has values for {wall.species} species, but the data have "
                f"{len(statistics.species)}."
            )
    if parts.is_own(model.name):
        complete = grid.for_channels(range(fields.channels))
        return _made(model.name, model, dataclasses.replace(statistics, grid=complete))
    return NeuralCellularAutomaton(
        grid,
        PERCEPTIONS[fields.perception](**fields[fields.perception]),
        UPDATES[fields.change](**fields[fields.change]),
        tuple(FINISHINGS[name](fields, statistics) for name in fields.finishing),
        fields.fire_rate,
        fields.step_size,
    )


def pde(model: ConfigDict, statistics: Statistics) -> ReactionDiffusionAdvection:
    """The right-hand side that `model.rda`, `model.chemotaxis` or a class of the user's describes.

    Raises:
      InputError: its parts do not fit the data.
    """
    if model.name == "chemotaxis":
        fields = dict(model.chemotaxis)
        network = _network(fields, statistics)
        return chemotaxis(statistics.grid, network, len(statistics.species), **fields)
    terms = {name: TERMS[name](dict(model.rda[name]), statistics) for name in known_terms(model)}
    for name in own_parts(model):
        called = name.rpartition(":")[2]
        if called in terms:
            raise InputError(
                f"model.rda.terms has two terms called {called!r}, which is where their parameters "
                "are; give one of the classes another name."
            )
        terms[called] = _made(name, model, statistics)
    return ReactionDiffusionAdvection(terms)


# What an equation writes out, coefficient by coefficient.
WRITTEN = "polynomial", "diffusion"


def known_terms(model: ConfigDict) -> tuple[str, ...]:
    """The terms of a PDE that have a section in `model.rda`."""
    if model.name != "rda":
        return ()
    return tuple(name for name in model.rda.terms if not parts.is_own(name))


def unwritten(model: ConfigDict, species: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Names of the terms of each species' equation that no formula writes out; none of automata."""
    if model.name == "chemotaxis":
        fields = model.chemotaxis
        of_cells = ("taxis", "cell_reaction") if fields.cell_reaction else ("taxis",)
        return {
            name: of_cells if place < fields.cells else ("reaction",)
            for place, name in enumerate(species)
        }
    terms = model.rda.terms if model.name == "rda" else ()
    return dict.fromkeys(species, tuple(name for name in terms if name not in WRITTEN))


def sections(model: ConfigDict) -> list[ConfigDict]:
    """The sections that describe the parts of a PDE which see the state; none of an automaton.

    A source sees places and times instead.
    """
    if model.name == "chemotaxis":
        return [model.chemotaxis]
    return [model.rda[name] for name in known_terms(model) if name != "source"]


def orders(model: ConfigDict) -> Iterator[int]:
    """The highest degrees of the monomials that the networks of a rule see whitened."""
    return (fields.order for fields in sections(model) if set(fields) >= NETWORK)


# The fields of a section that describe a network of the state.
NETWORK = {"order", "hidden", "activation", "last_scale", "initialiser", "position"}


def _network(fields: dict[str, Any], statistics: Statistics) -> StateNetwork:
    """The network that some fields of a section describe; they are taken out of it."""
    described = {name: fields.pop(name) for name in NETWORK}
    return StateNetwork(statistics.whitening[described["order"]], **described)


def _optional(fields: dict[str, Any], statistics: Statistics, choice: str) -> StateNetwork | None:
    """The network, where the field `choice` asks for one."""
    network, chosen = _network(fields, statistics), fields.pop(choice)
    return network if chosen == "network" else None


def _of_network(term: type[Term], *, on_grid: bool) -> Callable[[dict, Statistics], Term]:
    def make(fields: dict[str, Any], statistics: Statistics) -> Term:
        network = _network(fields, statistics)
        return term(statistics.grid, network, **fields) if on_grid else term(network, **fields)

    return make


def _phase_field(fields: dict[str, Any], statistics: Statistics) -> PhaseField:
    network = _optional(fields, statistics, "potential")
    return PhaseField(statistics.grid, network, order=fields.pop("degree"), **fields)


def _source(fields: dict[str, Any], statistics: Statistics) -> Source:
    return Source(statistics.grid, period=fields.pop("period") or None, **fields)


TERMS: dict[str, Callable[[dict[str, Any], Statistics], Term]] = {
    "polynomial": lambda fields, statistics: reaction.PolynomialReaction(
        species=statistics.species, **fields
    ),
    "network": _of_network(reaction.NetworkReaction, on_grid=False),
    "split": _of_network(reaction.SplitReaction, on_grid=False),
    "cubic_damping": lambda fields, statistics: reaction.CubicDamping(**fields),
    "diffusion": lambda fields, statistics: diffusion.LinearDiffusion(statistics.grid, **fields),
    "nonlinear_diffusion": _of_network(diffusion.NonlinearDiffusion, on_grid=True),
    "cross_diffusion": lambda fields, statistics: diffusion.CrossDiffusion(
        statistics.grid, _optional(fields, statistics, "coefficients"), **fields
    ),
    "advection": _of_network(advection.NetworkAdvection, on_grid=True),
    "taxis": lambda fields, statistics: advection.Taxis(
        statistics.grid, _optional(fields, statistics, "coefficients"), **fields
    ),
    "phase_field": _phase_field,
    "source": _source,
}
