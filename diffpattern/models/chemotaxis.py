"""Chemotaxis: cells that move up or down what they make of signals, a sum of terms.

The channels are in two groups, the cells first:

    dc/dt = D lap c - div(c grad phi(s)) [+ R_c(c, s)]
    ds/dt = D lap s + R_s(c, s)

phi, R_c and R_s are learnt networks; phi is of the signals alone and of either sign. Without R_c
the number of cells is conserved: all that moves them passes through faces between cells.

Source: Keller and Segel, J. Theor. Biol. 30, 225 (1971); with phi = chi log s or chi s / (1 + s)
and others, the models that Hillen and Painter review, J. Math. Biol. 58, 183 (2009).
"""

import dataclasses

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.models.advection import PotentialTaxis
from diffpattern.models.diffusion import LinearDiffusion
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.reaction import NetworkReaction
from diffpattern.models.state_network import StateNetwork


def chemotaxis(
    grid: Grid,
    network: StateNetwork,
    species: int,
    cells: int = 1,
    cell_reaction: bool = False,
    scheme: str = "central",
    laplacian: str = "oono_puri",
    initial: float = 0.05,
) -> ReactionDiffusionAdvection:
    """The rule: terms "diffusion", "taxis", "reaction" of the signals, and "cell_reaction".

    Args:
      grid: where the lattice lives.
      network: description of the networks; what they read is decided here.
      species: channels in all.
      cells: how many of them are cells; they come first, the others are signals.
      cell_reaction: whether cells are born and die.
      scheme: of the cells' flux, "central" or "upwind".
      laplacian: stencil of the diffusion.
      initial: first value of every diffusion coefficient.

    Raises:
      InputError: a group would be empty.

    Example:
      >>> rule = chemotaxis(Grid((8, 8)), network, species=2)
      >>> sorted(rule.terms)
      ['diffusion', 'reaction', 'taxis']
      >>> chemotaxis(Grid((8, 8)), network, species=1)
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: cells are 1 of 1 channels, but chemotaxis needs ...
    """
    if not 0 < cells < species:
        raise InputError(
            f"cells are {cells} of {species} channels, but chemotaxis needs one or more that are "
            "cells and one or more that are signals."
        )
    channels = tuple(range(species))
    of_signals = dataclasses.replace(network, reads=channels[cells:])
    of_all = dataclasses.replace(network, reads=None)
    terms = {
        "diffusion": LinearDiffusion(grid, laplacian, initial),
        "taxis": PotentialTaxis(grid, of_signals, scheme, movers=channels[:cells]),
        "reaction": NetworkReaction(of_all, channels=channels[cells:]),
    }
    if cell_reaction:
        terms["cell_reaction"] = NetworkReaction(of_all, channels=channels[:cells])
    return ReactionDiffusionAdvection(terms)
