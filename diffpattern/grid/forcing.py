"""What acts on a lattice from outside: given, never learnt, and each trajectory's own."""

import jax.numpy as jnp
from flax import struct
from jax import Array


class Forcing(struct.PyTreeNode):
    """The circumstances under which one lattice develops.

    Attributes:
      time: of the state, in the data's units of time; a scalar.
      mask: where there is anything at all, [*space], 1 inside and 0 outside; None: everywhere. The
        state is zero outside, and no flux passes the edge.
      environment: fields that a rule sees beside the state's channels and never changes,
        [E, *space]; None: there are none.
      inputs: numbers that all cells are told alike (the index of a target, a dose), [I]; with
        `input_times` a table of them, [S, I]. None: there are none.
      input_times: increasing times of the table's rows, [S]; between them the inputs go on
        linearly, before and after they stay as in the first and the last row. None: the inputs
        are constant.
      mask_changes: derivatives of a mask that is learnt by its parameters, [Q, *space], for those
        who carry sensitivities to them; None: the mask is nobody's parameter.

    Example:
      >>> forcing = Forcing(time=2.0, inputs=np.array([0.0, 1.0]))
      >>> forcing.time, forcing.mask is None
      (2.0, True)
    """

    time: Array | float = 0.0
    mask: Array | None = None
    environment: Array | None = None
    inputs: Array | None = None
    input_times: Array | None = None
    mask_changes: Array | None = None

    def later(self, elapsed: Array | float) -> "Forcing":
        """The circumstances `elapsed` units of time from now.

        Example:
          >>> Forcing(time=2.0).later(0.5).time
          2.5
        """
        return self.replace(time=self.time + elapsed)

    def inputs_now(self) -> Array | None:
        """The inputs [I] at this time.

        Example:
          >>> table = np.array([[0.0, 1.0], [4.0, 1.0]])
          >>> Forcing(1.0, inputs=table, input_times=np.array([0.0, 2.0])).inputs_now().tolist()
          [2.0, 1.0]
        """
        if self.inputs is None or self.input_times is None:
            return self.inputs
        column = lambda values: jnp.interp(self.time, self.input_times, values)
        return jnp.stack([column(values) for values in self.inputs.T])


UNFORCED = Forcing()
