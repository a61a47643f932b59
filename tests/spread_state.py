"""What the processes of a test of checkpoints have: some that all have, and slots of each."""

import jax
import numpy as np

from diffpattern.parallel import placement
from diffpattern.parallel.mesh import DATA, SPREAD


def values(step: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The parameters and the slots of a step, whole."""
    random = np.random.default_rng(step)
    slots = random.normal(size=(8, 3, 4096)).astype(np.float32)
    ages = (slots[:, :, 0] * 100).astype(np.int32)
    return {"weights": random.normal(size=5).astype(np.float32)}, {"slots": slots, "ages": ages}


def spread(tree: dict[str, np.ndarray], mesh: jax.sharding.Mesh) -> dict[str, jax.Array]:
    """The slots on the mesh, each process giving those of its own devices."""
    share = placement.Share.of(8, mesh.size, placement.held(mesh, DATA))
    mine = {name: array[share.places] for name, array in tree.items()}
    return placement.lay_share(mine, mesh, SPREAD)
