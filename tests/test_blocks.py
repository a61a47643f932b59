"""Every rule by name on a lattice cut over a mesh: the same numbers as on the whole lattice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from test_rules import KEY, NAMES, built, moved

from diffpattern.rollout import rollout

AXES = ("rows", "columns")
TIMES = np.array([0.0, 2.0])


@pytest.mark.slow
@NAMES
@pytest.mark.parametrize("cuts", [(2, 4), (8, 1)], ids=str)
@pytest.mark.usefixtures("quick_compilation")
def test_a_rule_makes_the_same_of_blocks_as_of_the_whole_lattice(name, cuts):
    sought, data = built(name, (16, 32))
    parameters, start = moved(sought.initialise(0)), jnp.asarray(data.values[0, 0])
    on_block = sought.on(sought.statistics.grid.block(dict(zip(AXES, cuts, strict=True))))

    def states(problem):
        forcing = data.forcing(0)
        return lambda parameters, start: rollout(
            problem.dynamics, parameters, problem.complete(start, KEY), TIMES, KEY, forcing
        )

    mesh = jax.make_mesh(cuts, AXES, axis_types=(AxisType.Auto,) * 2)
    blocks = jax.jit(
        jax.shard_map(
            states(on_block),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(*AXES)),
            out_specs=PartitionSpec(None, *AXES),
        )
    )(parameters, start)
    whole = jax.jit(states(sought))(parameters, start)
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=1e-5)
    assert np.abs(whole[1] - whole[0]).max() > 1e-2
