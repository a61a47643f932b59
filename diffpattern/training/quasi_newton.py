"""L-BFGS: a Newton step by what the last gradients tell of the curvature, and a search along it.

A step goes along -H g, where H is built from the last pairs of what the parameters moved by and
what that changed in the gradient, s and y, and as far as the strong Wolfe conditions ask for.

Each train step has windows of its own, and between two of them a gradient changes by more than the
parameters' move. So both gradients of a pair are taken over the windows of the step that made the
move (the search computes the second one anyway), and a search sees the windows of its step only.

Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 7.4, 7.5, 3.5 and 3.6, as
Optax has them; pairs over the same windows are of Schraudolph, Yu and Guenter, AISTATS (2007).
"""

import jax
import jax.numpy as jnp
import optax


def lbfgs(memory: int, search_steps: int) -> optax.GradientTransformationExtraArgs:
    """The optimiser; its updates take the loss `value` and the loss as a function, `value_fn`.

    It begins anew, with a step along the gradient, after a pair without positive curvature, and
    after a search that found nothing better, which makes no step.

    Args:
      memory: pairs that are kept.
      search_steps: most trials of a search, each a loss and its gradient.
    """
    inner = optax.lbfgs(
        memory_size=memory,
        linesearch=optax.scale_by_zoom_linesearch(search_steps, initial_guess_strategy="one"),
    )

    def update(gradient, state, parameters, *, value, value_fn, **further):
        del further
        pairs, scaling, search = state
        moved = optax.tree.sub(parameters, pairs.params)
        turned = optax.tree.sub(search.grad, pairs.updates)
        # Optax will take the difference of this gradient and the last one for the pair: the last
        # one is set to what gives it `turned`.
        pairs = optax.tree.where(
            optax.tree.vdot(moved, turned) > 0,
            pairs._replace(updates=optax.tree.sub(gradient, turned)),
            inner.init(parameters)[0],
        )
        updates, state = inner.update(
            gradient,
            (pairs, scaling, search),
            parameters,
            value=value,
            grad=gradient,
            value_fn=value_fn,
        )
        better = state[-1].value <= value
        return jax.tree.map(lambda u: jnp.where(better, u, 0.0), updates), state

    return optax.GradientTransformationExtraArgs(inner.init, update)
