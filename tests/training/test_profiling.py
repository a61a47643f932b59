"""A trace holds the steps that were asked for, and those alone."""

import gzip
import json

import jax
import jax.numpy as jnp

from diffpattern.training.profiling import Profile


def traced(folder):
    """The numbers of the train steps in the trace below a folder."""
    (path,) = folder.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return sorted(
        {int(one["args"]["step_num"]) for one in events if "step_num" in one.get("args", {})}
    )


def run(folder, asked, steps):
    advance = jax.jit(lambda x: jnp.sin(x))
    x = jnp.ones(8)
    with Profile(folder, asked) as profile:
        for step in steps:
            with profile.step(step) as results:
                x = advance(x)
                results.append(x)


def test_steps_after_the_first_three_are_traced(tmp_path):
    run(tmp_path, 2, range(11, 18))
    assert traced(tmp_path) == [14, 15]
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_a_trace_ends_with_training(tmp_path):
    run(tmp_path, 100, range(1, 6))
    assert traced(tmp_path) == [4, 5]


def test_nothing_is_traced_unasked_or_before_there_is_anything_to_see(tmp_path):
    run(tmp_path, 0, range(1, 6))
    run(tmp_path, 5, range(1, 4))
    assert not list(tmp_path.iterdir())
