"""Checkpoints of a run: written while training goes on, and never restored silently wrong.

Orbax writes and finds them; this module adds what Orbax leaves out. Array files with a flipped byte
restore without complaint there, so every leaf gets a digest of its path, type, shape and bytes when
it is saved, and is compared with it before anything is done with the restored values. The digests
are sums over the elements (`training.digests`), so they depend on neither devices nor sharding.

Of several processes each writes and reads the parts of spread arrays that lie on its own devices,
adds up their part of the digest, and hears of the others' (`parallel.processes.gather`). Whatever
else there is the first one writes and all read. What one of them finds damaged is damaged for all.

    RUN/checkpoints/300/parameters       arrays, by the path of the leaf (`diffusion/coefficient`)
    RUN/checkpoints/300/training_state   arrays likewise: optimiser, counters, random keys
    RUN/checkpoints/300/metadata         one JSON record: its format, the caller's metadata, score,
                                         digests, and the digest of the record itself

A folder carries its final name only when it is complete (Orbax renames it as the last act), so what
a killed run half wrote is never mistaken for a checkpoint. Older checkpoints are deleted after that
renaming and only if the writing succeeded: `CheckpointManager` waits for the commit first and stops
at its error.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    LatestN,
    PolicyCheckpointInfo,
    PreservationContext,
    PreservationPolicy,
)

from diffpattern.errors import InputError, TrainingError
from diffpattern.parallel import placement, processes
from diffpattern.training import digests

PyTree = Any
# Of each item, of each leaf by its path, of each region: what it adds to the leaf's digest.
Parts = dict[str, dict[str, dict[str, int]]]
Scores = dict[int, float | None]
# Of the record and of how arrays are named and kept; to be raised when they change. What older
# formats hold is still restored: tests/runs has a checkpoint of each. Records without one are of 1.
FORMAT = 1
# How TensorStore's errors end, after all that was on the way: what the kernel said.
_KERNELS_CODE = re.compile(r"os_error_code='(\d+)'")


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint held.

    Attributes:
      step: training step at which it was saved.
      parameters: pytree of the rule's parameters.
      training_state: pytree of everything else that training needs to go on; None if not asked for.
      metadata: what was given to `save`, after a round trip through JSON (tuples become lists).
    """

    step: int
    parameters: PyTree
    training_state: PyTree | None
    metadata: dict[str, Any]


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints in one folder, by training step.

    Keeps the latest `keep` and, besides, the one with the lowest validation score. Opening reads
    and never writes: the folder is made by the first `save`, which also removes what a killed run
    half wrote. Leave it through `close` (or `with`), or the last save may be lost.
    One run writes a folder; others may read it meanwhile. The processes of a run open it together,
    and call every method together.

    Leaves may be JAX arrays of any sharding, also over processes, NumPy arrays and numbers that all
    processes have, and `jax.random.key` keys (stored as their data and the name of their
    implementation); bfloat16 is kept as such.

    Raises:
      InputError: `folder` is a file, or `keep` less than 1.
    """

    def __init__(self, folder: str | pathlib.Path, keep: int = 3):
        if keep < 1:
            raise InputError(
                f"The number of checkpoints to keep is {keep}, and 1 or more is needed."
            )
        self._folder = pathlib.Path(folder).absolute()
        if self._folder.exists() and not self._folder.is_dir():
            raise InputError(f"{self._folder} is a file where a folder of checkpoints is expected.")
        self._keep = keep
        self._scores: Scores = {}
        self._damaged: dict[int, str] = {}
        self._loops = contextlib.ExitStack()
        self._loops.enter_context(_forgiving_loops())
        self._manager = self._open()
        known = {}
        for step in self._manager.all_steps() if processes.is_first() else []:
            # A damaged record is reported when, and only if, that checkpoint is to be restored.
            with contextlib.suppress(_DamageError):
                known[step] = self._read_record(step)["score"]
        self._scores.update(processes.from_first(list(known.items())))
        self._first_save = True

    @property
    def folder(self) -> pathlib.Path:
        """Where the checkpoints lie."""
        return self._folder

    @property
    def latest(self) -> int | None:
        """Newest step not found damaged, None if there is none; one being written counts."""
        return max(self.steps(), default=None)

    @property
    def best(self) -> int | None:
        """Step with the lowest score, None if no checkpoint has one."""
        return _best(self.steps(), self._scores)

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, in order, without those that `restore` found damaged."""
        return sorted(set(self._manager.all_steps()) - set(self._damaged))

    def save(
        self,
        step: int,
        parameters: PyTree,
        training_state: PyTree,
        metadata: Mapping[str, Any],
        score: float | None = None,
    ) -> None:
        """Saves a checkpoint in the background.

        When this returns, the arrays have been copied to the host: they may be donated or
        overwritten. If the save before is still being written, it is waited for first.

        No folder is ever overwritten. Checkpoints that `resume` or `restore` found damaged are
        renamed to `damaged-<step>-<n>`, for a person to look at: left in place they would count
        among the latest and push intact ones out. Any other checkpoint in the way at `step` (one
        from before the run went back to an older step) is renamed to `replaced-<step>-<n>`. Both
        are left alone from then on.

        Args:
          step: training step, 0 or more.
          parameters: pytree of arrays; saved apart, so that it can be restored alone.
          training_state: pytree of arrays; may have no leaves.
          metadata: what JSON can hold.
          score: validation score, lower is better; None or not finite: never the best.

        Raises:
          TrainingError: this save, or the one before it, could not be written.
        """
        arrays, described, parts = {}, {}, {}
        for item, tree in {"parameters": parameters, "training_state": training_state}.items():
            arrays[item], described[item], parts[item] = _to_save(tree)
        with self._writing():
            for item, path, total in _totals(parts):
                described[item][path]["digest"] = digests.written(total)
        record = {
            "format": FORMAT,
            "step": int(step),
            "score": float(score) if score is not None and math.isfinite(score) else None,
            "metadata": dict(metadata),
            "leaves": described,
        }
        record = json.loads(json.dumps(record))  # as it will be read back, for the digest
        # Orbax refuses arrays of no size, and items without arrays. It copies what it accepts.
        filled = {
            item: {path: array for path, array in saved.items() if array.size}
            for item, saved in arrays.items()
        }
        saved = {item: ocp.args.PyTreeSave(some) for item, some in filled.items() if some}
        saved["metadata"] = ocp.args.JsonSave(record | {"digest": _record_digest(record)})
        with self._writing():
            self._manager.wait_until_finished()
            self._make_way(step)
            self._scores[step] = record["score"]
            # Forced, because Orbax by itself skips every step older than its newest.
            self._manager.save(step, args=ocp.args.Composite(**saved), force=True)

    def resume(self, parameters: PyTree, training_state: PyTree) -> Restored | None:
        """`restore` of the newest intact checkpoint, or None if the folder has none at all.

        Raises:
          InputError: there are checkpoints, but none is intact or they are of another model.
        """
        self.wait()
        return self.restore(parameters, training_state) if self._present() else None

    def restore(
        self,
        parameters: PyTree | None = None,
        training_state: PyTree | None = None,
        step: int | None = None,
    ) -> Restored:
        """Restores a checkpoint, on whatever devices the templates name.

        Args:
          parameters: template, a pytree of arrays or `jax.ShapeDtypeStruct` (`jax.eval_shape`
            makes it). A leaf is placed by its template's sharding, on the default device if that
            is None, and stays on the host where the template is a NumPy array. Without a template
            the parameters come back as nested dictionaries on the default device.
          training_state: template likewise; None restores the parameters alone.
          step: which checkpoint. None: the newest, passing over damaged ones with a warning.

        Raises:
          InputError: no checkpoint, `step` missing or damaged, none intact, or arrays that do not
            fit the templates (which no older checkpoint would mend, so none is tried).
        """
        self.wait()
        templates = {"parameters": parameters}
        if training_state is not None:
            templates["training_state"] = training_state
        steps = sorted(self._present(), reverse=True)
        if step is not None:
            if step not in steps:
                raise InputError(f"{self._path(step)} does not exist; {self._known(steps)}.")
            try:
                return self._restore(step, templates)
            except _DamageError as damage:
                raise InputError(f"{self._path(step)} is damaged: {damage}.") from None
        for step in steps:
            try:
                return self._restore(step, templates)
            except _DamageError as damage:
                self._damaged[step] = str(damage)
                logging.warning("Passing over %s, which is damaged: %s.", self._path(step), damage)
        if not steps:
            raise InputError(f"{self._known(steps)}; train first or name another run folder.")
        raise InputError(
            f"None of the checkpoints in {self._folder} is intact (step {steps[0]}: "
            f"{self._damaged[steps[0]]}); restore one from a copy or train in another folder."
        )

    def wait(self) -> None:
        """Waits for the save in flight.

        Raises:
          TrainingError: it could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the save in flight and ends the threads that write.

        Raises:
          TrainingError: it could not be written.
        """
        with self._loops, self._writing():
            self._manager.close()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            create=False,
            preservation_policy=AnyPreservationPolicy([LatestN(self._keep), _Best(self._scores)]),
            # What Orbax keeps beside the items (times, its own metrics) is not used here.
            lightweight_initialize=True,
            save_root_metadata=False,
            # Otherwise writers wait ten minutes for a folder that could not be made.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        handlers = {
            "parameters": ocp.PyTreeCheckpointHandler(),
            "training_state": ocp.PyTreeCheckpointHandler(),
            "metadata": ocp.JsonCheckpointHandler(),
        }
        return ocp.CheckpointManager(self._folder, options=options, item_handlers=handlers)

    def _present(self) -> list[int]:
        """Steps that have a checkpoint, as the first process sees them."""
        return processes.from_first(list(self._manager.all_steps()))

    def _path(self, step: int) -> pathlib.Path:
        return self._folder / str(step)

    def _known(self, steps: Sequence[int]) -> str:
        if not steps:
            return f"{self._folder} holds no checkpoint"
        return f"{self._folder} holds those of steps {', '.join(map(str, sorted(steps)))}"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Tells in one sentence what went wrong in Orbax's threads, unless others died."""
        try:
            yield
        except Exception as error:  # a full disk shows as ValueError, OSError or a JAX error
            if processes.comes_of_a_loss(error):
                raise
            raise TrainingError(
                f"A checkpoint could not be written to {self._folder} ({_reason(error)}); "
                "the ones before it are kept."
            ) from error

    def _make_way(self, step: int) -> None:
        """Prepares the folder for a save at `step`; see `save` for what is renamed."""
        first = processes.is_first()
        if first and self._first_save:
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.glob("*.orbax-checkpoint-tmp*"):
                if path.is_dir():
                    shutil.rmtree(path)
        self._first_save = False
        aside = dict.fromkeys(self._damaged, "damaged")
        if processes.from_first(self._path(step).exists()):
            aside.setdefault(step, "replaced")
        if not aside:
            return
        if first:
            for old, word in aside.items():
                _rename_aside(self._path(old), word)
        processes.wait_for_all()
        for old in aside:
            self._scores.pop(old, None)
        self._damaged.clear()
        # Opened anew, for Orbax remembers the steps it has seen.
        self._manager.close()
        self._manager = self._open()

    def _restore(self, step: int, templates: Mapping[str, PyTree | None]) -> Restored:
        record = _agreed(lambda: self._read_record(step))
        for item, template in templates.items():
            if template is not None:
                _check_fit(self._path(step), item, record["leaves"][item], template)
        wanted = {item: record["leaves"][item] for item in templates}
        arrays, parts = _agreed(lambda: self._read_arrays(step, wanted, templates))
        for item, path, total in _totals(parts):
            if digests.written(total) != wanted[item][path]["digest"]:
                raise _DamageError(_unlike(item, path))
        trees = {
            item: _place(arrays[item], record["leaves"][item], template)
            for item, template in templates.items()
        }
        return Restored(step, trees["parameters"], trees.get("training_state"), record["metadata"])

    def _read_record(self, step: int) -> dict[str, Any]:
        """The JSON record of a checkpoint, checked against its own digest."""
        with _reading("its metadata"):
            record = dict(ocp.JsonCheckpointHandler().restore(self._path(step) / "metadata"))
        digest = record.pop("digest", None)
        if digest != _record_digest(record):
            raise _DamageError("its metadata does not match its digest")
        if (written := record.get("format", 1)) > FORMAT:
            raise InputError(
                f"{self._path(step)} was written by a newer diffpattern (format {written} of "
                f"checkpoints, where this one reads up to {FORMAT}); install that."
            )
        if record["step"] != step:
            raise _DamageError(f"it was saved as step {record['step']}")
        return record

    def _read_arrays(
        self,
        step: int,
        described: Mapping[str, Mapping[str, Any]],
        templates: Mapping[str, PyTree | None],
    ) -> tuple[dict[str, dict[str, Any]], Parts]:
        """The arrays of the items, each on the host and compared with its digest.

        Those that are to be spread over processes are laid on this one's devices instead; what
        they add to their digests is returned beside them.
        """
        arrays, parts = {}, {}
        for item, leaves in described.items():
            targets = {} if templates[item] is None else _by_path(templates[item])[0]
            spread = {
                path: targets[path].sharding
                for path, leaf in leaves.items()
                if "digest" in leaf and path in targets and _is_spread(targets[path])
            }
            asked = {
                path: ocp.ArrayRestoreArgs(
                    sharding=spread[path],
                    global_shape=tuple(leaf["shape"]),
                    dtype=jnp.dtype(leaf["dtype"]),
                )
                if path in spread
                else ocp.RestoreArgs(restore_type=np.ndarray)
                for path, leaf in leaves.items()
                if math.prod(leaf["shape"])
            }
            found = {}
            if asked:
                # Not by the manager, which waits for all processes even if one of them fails.
                with _reading("its arrays"):
                    found = ocp.PyTreeCheckpointHandler().restore(
                        self._path(step) / item, args=ocp.args.PyTreeRestore(restore_args=asked)
                    )
            arrays[item], parts[item] = dict(found), {}
            for path, leaf in leaves.items():
                if path not in asked:
                    arrays[item][path] = np.zeros(leaf["shape"], jnp.dtype(leaf["dtype"]))
                if path not in arrays[item]:
                    raise _DamageError(f"array {path} is missing from its {item}")
                if path in spread:
                    parts[item][path] = _regions(path, arrays[item][path])
                elif not _matches(path, np.asarray(arrays[item][path]), leaf):
                    raise _DamageError(_unlike(item, path))
        return arrays, parts


class _DamageError(Exception):
    """A checkpoint is not what was saved; the message says how, without naming the checkpoint."""


def _unlike(item: str, path: str) -> str:
    return f"array {path} of its {item} does not match its digest"


def _agreed(read: Callable[[], Any]) -> Any:
    """What `read` returns in this process, unless any process found damage."""
    try:
        result, damage = read(), ""
    except _DamageError as error:
        result, damage = None, str(error)
    for process, found in enumerate(processes.gather(damage)):
        if found:
            where = f", as process {process} sees it" if processes.count() > 1 else ""
            raise _DamageError(found + where)
    return result


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turns whatever Orbax or TensorStore raises over files that are not as written into damage."""
    try:
        yield
    except Exception as error:
        raise _DamageError(f"{what} cannot be read ({_first_line(error)})") from error


@contextlib.contextmanager
def _forgiving_loops() -> Iterator[None]:
    """Lets all event loops made meanwhile be forgiving ones."""
    policy = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_ForgivingLoopPolicy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(policy)


class _ForgivingLoop(asyncio.SelectorEventLoop):
    """An event loop that is silent about what happens after the first error.

    Orbax closes its loop at the first array that cannot be read or written. TensorStore's threads
    go on reporting to it about the others, and each would print a traceback that nobody can catch.
    """

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        del context  # errors of further arrays, which nobody waits for any more

    def call_soon_threadsafe(self, *arguments: Any, **options: Any) -> asyncio.Handle | None:
        try:
            return super().call_soon_threadsafe(*arguments, **options)
        except RuntimeError:
            if self.is_closed():
                return None
            raise


class _ForgivingLoopPolicy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _ForgivingLoop()


def _reason(error: Exception) -> str:
    """Why something could not be written: what the kernel said, if it did."""
    if code := _KERNELS_CODE.search(str(error)):
        return os.strerror(int(code[1]))
    return _first_line(error)


def _first_line(error: Exception, width: int = 200) -> str:
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {line}"[:width].rstrip(" .:")


@dataclasses.dataclass
class _Best(PreservationPolicy):
    """Preserves the checkpoint with the lowest score; `scores` grows with each save."""

    scores: Scores

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], *, context: PreservationContext
    ) -> Sequence[bool]:
        del context
        best = _best([checkpoint.step for checkpoint in checkpoints], self.scores)
        return [checkpoint.step == best for checkpoint in checkpoints]


def _best(steps: Sequence[int], scores: Scores) -> int | None:
    scored = [step for step in steps if scores.get(step) is not None]
    return min(scored, key=lambda step: (scores[step], step), default=None)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _by_path(tree: PyTree) -> tuple[dict[str, Any], jax.tree_util.PyTreeDef]:
    """Leaves by their path, as in `diffusion/coefficient`, in the order of the tree."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    by_path = {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
        )
        for path, leaf in leaves
    }
    if len(by_path) != len(leaves):
        raise ValueError("Two leaves of the tree have the same path once joined by slashes.")
    return by_path, structure


def _is_spread(leaf: Any) -> bool:
    """Whether an array, or what a template asks for, lies in parts in several processes."""
    sharding = getattr(leaf, "sharding", None)
    if sharding is None or sharding.is_fully_addressable:
        return False
    return not sharding.is_fully_replicated


def _to_save(
    tree: PyTree,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, dict[str, int]]]:
    """What is to be saved of the leaves, all by path.

    Returns:
      Host copies, or arrays that lie in several processes; what the record says of each, but for
      the latter's digests; and what this process's regions add to these.
    """
    leaves, _ = _by_path(tree)
    keys = {path: str(jax.random.key_impl(leaf)) for path, leaf in leaves.items() if _is_key(leaf)}
    plain = {
        path: jax.random.key_data(leaf) if path in keys else leaf for path, leaf in leaves.items()
    }
    spread = {path: leaf for path, leaf in plain.items() if _is_spread(leaf)}
    hosts = jax.device_get({path: leaf for path, leaf in plain.items() if path not in spread})
    saved = {path: np.asarray(host) for path, host in hosts.items()} | spread
    described = {
        path: {
            "shape": saved[path].shape,
            "dtype": str(saved[path].dtype),
            "key_implementation": keys.get(path),
        }
        for path in leaves
    }
    for path in hosts:
        described[path]["digest"] = digests.written(digests.part(path, saved[path]))
    return saved, described, {path: _regions(path, array) for path, array in spread.items()}


def _regions(path: str, array: jax.Array) -> dict[str, int]:
    """What each region of an array that this process has adds to its digest."""
    parts = {}
    for shard in array.addressable_shards:
        spans = [place.indices(size) for place, size in zip(shard.index, array.shape, strict=True)]
        region = " ".join(f"{begin}:{end}" for begin, end, _ in spans)
        if region not in parts:
            starts = [begin for begin, _, _ in spans]
            parts[region] = digests.part(path, np.asarray(shard.data), array.shape, starts)
    return parts


def _totals(own: Parts) -> Iterator[tuple[str, str, int]]:
    """Item, path and digest of the arrays of which each process has some regions.

    Raises:
      _DamageError: two processes have the same region, and not the same in it.
    """
    everyone = [own]
    if any(own.values()):
        everyone = [json.loads(text) for text in processes.gather(json.dumps(own))]
    for item, paths in own.items():
        for path in paths:
            regions: dict[str, int] = {}
            for parts in everyone:
                for region, number in parts[item][path].items():
                    if regions.setdefault(region, number) != number:
                        raise _DamageError(f"{_unlike(item, path)} in all processes")
            yield item, path, sum(regions.values())


def _matches(path: str, host: np.ndarray, described: Mapping[str, Any]) -> bool:
    """Whether an array is what the record says."""
    if "digest" in described:
        return digests.written(digests.part(path, host)) == described["digest"]
    return _sha256(path, host) == described["sha256"]


def _sha256(path: str, host: np.ndarray) -> str:
    """The digest of an array in checkpoints from before several processes could write them."""
    digest = hashlib.sha256(json.dumps([path, str(host.dtype), host.shape]).encode())
    # Seen as bytes, since bfloat16 does not speak Python's buffer protocol.
    digest.update(np.ascontiguousarray(host).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _record_digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _check_fit(
    path: pathlib.Path, item: str, described: Mapping[str, Any], template: PyTree
) -> None:
    """Raises InputError at the first leaf in which a checkpoint and a template differ."""

    def tell(shape: Sequence[int], dtype: str) -> str:
        return f"{dtype}[{', '.join(map(str, shape))}]"

    leaves = {
        name: jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        for name, leaf in _by_path(template)[0].items()
    }
    expected = {name: tell(leaf.shape, str(leaf.dtype)) for name, leaf in leaves.items()}
    found = {name: tell(leaf["shape"], leaf["dtype"]) for name, leaf in described.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise InputError(
                f"{path} was made by another model: {name} of its {item} is "
                f"{found.get(name, 'missing')} where {expected.get(name, 'no such array')} is "
                "expected; give the config that this folder was trained with."
            )


def _place(
    arrays: Mapping[str, np.ndarray], described: Mapping[str, Any], template: PyTree | None
) -> PyTree:
    """Puts host arrays where the template wants them and gives them the template's structure."""
    if template is None:
        placed = {
            tuple(path.split("/")): _put(arrays[path], leaf["key_implementation"], None)
            for path, leaf in described.items()
        }
        return flax.traverse_util.unflatten_dict(placed)
    targets, structure = _by_path(template)
    leaves = [
        _put(arrays[path], described[path]["key_implementation"], target)
        for path, target in targets.items()
    ]
    return jax.tree_util.tree_unflatten(structure, leaves)


def _put(
    host: np.ndarray | jax.Array, key_implementation: str | None, target: Any
) -> jax.Array | np.ndarray:
    if isinstance(target, np.ndarray):
        return host
    sharding = getattr(target, "sharding", None)
    if isinstance(host, jax.Array):
        array = host
    elif sharding is None or sharding.is_fully_addressable:
        array = jax.device_put(host, sharding)
    else:
        array = placement.lay(host, sharding)
    if key_implementation is None:
        return array
    return jax.random.wrap_key_data(array, impl=key_implementation)


def _rename_aside(path: pathlib.Path, word: str) -> None:
    if not path.exists():
        return
    number = 1
    while (target := path.with_name(f"{word}-{path.name}-{number}")).exists():
        number += 1
    path.rename(target)
    logging.warning("%s was renamed to %s.", path, target.name)
