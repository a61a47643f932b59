"""How good a prediction is: NRMSE, valid time, and the baselines that any rule must beat.

Pure functions of arrays, channels last ([N, T, *space, C]); nothing here reads or writes files.
`summarise` gathers them into the dictionary that a run keeps as `eval/scores.json`. Trajectories on
lattices of several sizes come apart, and count alike.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffpattern.data.trajectories import Trajectories
from diffpattern.spectra import dominant_wavelength, levelled

# A species counts as conserved whose sum over cells drifts by less, in the truth; rounding does.
_CONSERVED = 1e-4


def _root_mean_square(x: NDArray, axes: tuple[int, ...]) -> NDArray:
    return np.sqrt(np.mean(np.square(x), axis=axes))


def _about_spatial_mean(x: NDArray) -> tuple[NDArray, tuple[int, ...]]:
    """One trajectory [T, *space, C] less its spatial mean, and the axes of space."""
    space = tuple(range(1, x.ndim - 1))
    return x - x.mean(axis=space, keepdims=True), space


def nrmse(
    prediction: ArrayLike,
    truth: ArrayLike,
    floor: ArrayLike,
    mask: ArrayLike | None = None,
    known: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Normalised root mean square error of each trajectory, time and channel.

        NRMSE = |prediction - truth| / max(|truth - spatial mean of truth|, floor)

    with |.| the root mean square over the lattice. The quotient of root mean squares is that of
    the norms, and lets one floor serve lattices of every size. Without the floor it would diverge
    where the truth is nearly uniform.

    Args:
      prediction: [N, T, *space, C]; may hold NaN or infinities.
      truth: [N, T, *space, C], finite.
      floor: [C], in the channels' units, a share of the training data's fluctuation.
      mask: [N, *space], 1 where the error counts; None: everywhere.
      known: [N, T, C], 1 where the truth was seen; None: always.

    Returns:
      [N, T, C], NaN where the truth was not seen and nowhere else: a snapshot with any value that
      is not finite scores infinity, and a perfect one scores 0 even where the denominator vanishes.

    Raises:
      ValueError: the two shapes differ.

    Example:
      >>> truth = np.array([0.0, 1.0, 0.0, 1.0]).reshape(1, 1, 4, 1)
      >>> nrmse(truth + 0.1, truth, floor=[0.01]).round(3).tolist()
      [[[0.2]]]
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, truth {truth.shape}")
    floor = np.asarray(floor, np.float64)
    # One trajectory at a time, so that float64 copies stay small for large lattices.
    scores = []
    for index, (p, t) in enumerate(zip(prediction, truth, strict=True)):
        if mask is not None:
            inside = np.asarray(mask)[index] > 0
            p, t = p[:, inside], t[:, inside]
        scores.append(_nrmse_of_one(p, t, floor))
    return np.where(True if known is None else np.asarray(known) > 0, np.stack(scores), np.nan)


def _nrmse_of_one(prediction: NDArray, truth: NDArray, floor: NDArray) -> NDArray[np.float64]:
    truth = truth.astype(np.float64)
    fluctuation, space = _about_spatial_mean(truth)
    scale = np.maximum(_root_mean_square(fluctuation, space), floor)
    with np.errstate(all="ignore"):
        error = _root_mean_square(prediction.astype(np.float64) - truth, space)
        ratio = np.where(error == 0, 0.0, error / scale)
    return np.where(np.isnan(ratio), np.inf, ratio)


def overall(errors: ArrayLike) -> float:
    """One number for the NRMSE [N, T, C]: of the median trajectory, averaged over channels and all
    times but the first, which is given.

    Example:
      >>> overall(np.array([[[0.0, 0.0], [0.1, 0.3]]]))  # one trajectory, two times, two species
      0.2
    """
    median, _, _ = _over_trajectories(np.asarray(errors)[:, 1:])
    return float(np.nanmean(median))


def by_time(errors: ArrayLike) -> NDArray[np.float64]:
    """What `overall` averages over times: of the NRMSE [N, T, C] one number for each time, [T].

    NaN where nothing of the truth was seen.

    Example:
      >>> by_time(np.array([[[0.0, 0.0], [0.1, 0.3]]])).tolist()
      [0.0, 0.2]
    """
    median, _, _ = _over_trajectories(np.asarray(errors))
    return _mean_of_seen(median, (1,))


def by_trajectory(errors: ArrayLike) -> NDArray[np.float64]:
    """Of the NRMSE [N, T, C] the mean over channels and all times but the first, [N].

    NaN where nothing of the truth was seen.

    Example:
      >>> by_trajectory(np.array([[[0.0], [0.1]], [[0.0], [0.3]]])).tolist()
      [0.1, 0.3]
    """
    return _mean_of_seen(np.asarray(errors)[:, 1:], (1, 2))


def typical(prediction: ArrayLike, truth: Trajectories, floor: ArrayLike) -> int:
    """The trajectory of median error at the last time at which anything was seen.

    Its error is that of the worst channel; of two in the middle the better one is taken.

    Args:
      prediction: at the truth's times, [N, T, *space, C].
      truth: held-out trajectories.
      floor: see `nrmse`.

    Example:
      >>> truth = Trajectories(np.arange(12.0).reshape(3, 1, 4, 1), [0], ("u",), Grid(4))
      >>> off = np.array([0.3, 0.1, 0.2]).reshape(3, 1, 1, 1)
      >>> typical(truth.values + off, truth, floor=[0.01])
      2
    """
    seen = (
        range(len(truth.times)) if truth.known is None else np.flatnonzero(truth.known.any((0, 2)))
    )
    last = (slice(None), slice(seen[-1], seen[-1] + 1))
    known = None if truth.known is None else truth.known[last]
    errors = nrmse(np.asarray(prediction)[last], truth.values[last], floor, truth.mask, known)
    worst = np.nan_to_num(errors[:, 0], nan=-1.0, posinf=np.inf).max(axis=-1)
    return int(np.argsort(worst, kind="stable")[(len(worst) - 1) // 2])


def valid_time(errors: ArrayLike, times: ArrayLike, threshold: float) -> float | None:
    """First time at which an error exceeds the threshold; None if it never does.

    Args:
      errors: NRMSE of one channel of one trajectory, [T].
      times: [T].
      threshold: the largest error that still counts as valid.

    Example:
      >>> valid_time([0.0, 0.1, 0.3], times=[0, 16, 32], threshold=0.2)
      32.0
      >>> valid_time([0.0, 0.1, 0.1], times=[0, 16, 32], threshold=0.2) is None
      True
    """
    exceeded = np.flatnonzero(np.asarray(errors) > threshold)
    return float(np.asarray(times)[exceeded[0]]) if exceeded.size else None


def persistence(truth: ArrayLike) -> NDArray:
    """The prediction that nothing changes: each trajectory's first snapshot, [N, T, *space, C].

    Example:
      >>> persistence(np.arange(3.0).reshape(1, 3, 1, 1)).ravel().tolist()
      [0.0, 0.0, 0.0]
    """
    truth = np.asarray(truth)
    return np.broadcast_to(truth[:, :1], truth.shape)


def mean(training_mean: ArrayLike, truth: ArrayLike) -> NDArray:
    """The prediction of each channel's training mean ([C]) everywhere, [N, T, *space, C].

    Example:
      >>> mean([0.5], np.zeros((1, 3, 4, 1))).shape
      (1, 3, 4, 1)
    """
    return np.broadcast_to(np.asarray(training_mean), np.shape(truth))


def summarise(
    predictions: Sequence[ArrayLike],
    truths: Sequence[Trajectories],
    *,
    training_mean: ArrayLike,
    floor: ArrayLike,
    threshold: float,
) -> dict[str, Any]:
    """The scores of a prediction and of both baselines, ready for `json.dump`.

    Medians are over the trajectories, ranges are their smallest and largest. In an `nrmse` list
    null stands for infinity (the prediction was not finite); as a `valid_time` it says that the
    threshold was never exceeded within the saved times. A trajectory that stays valid counts as
    infinite in the median, so null there means that the median trajectory stayed valid.

    Args:
      predictions: at the truth's times, [N, T, *space, C] for each size of lattices.
      truths: held-out trajectories likewise, which differ in their lattices' sizes alone.
      training_mean: mean of each channel over the training data, [C].
      floor: least denominator of the NRMSE, [C].
      threshold: NRMSE at which a prediction stops being valid.

    Returns:
      {"times", "nrmse", "nrmse_range", "valid_time", "valid_time_range", "baselines", "floor",
      "threshold", "trajectories"}; each entry of "baselines" has the middle four keys. Where parts
      of the truth were not seen, "known" has for each species the indices of the times at which
      some trajectory was.

    Example:
      >>> truth = Trajectories(np.arange(12.0).reshape(1, 3, 4, 1), [0, 1, 2], ("u",), Grid(4))
      >>> known = {"training_mean": [5.5], "floor": [0.1], "threshold": 0.2}
      >>> exact = summarise([truth.values], [truth], **known)
      >>> exact["nrmse"]["u"], exact["valid_time"]["u"] is None
      ([0.0, 0.0, 0.0], True)
      >>> [round(error, 2) for error in exact["baselines"]["persistence"]["nrmse"]["u"]]
      [0.0, 3.58, 7.16]
    """

    first = truths[0]

    def scored(candidates: Sequence[ArrayLike]) -> dict[str, Any]:
        errors = errors_of_all(candidates, truths, floor)
        return _medians_and_ranges(errors, first.times, first.species, threshold)

    return {
        "times": _json_safe(first.times),
        **scored(predictions),
        "baselines": {
            "persistence": scored([persistence(truth.values) for truth in truths]),
            "mean": scored([mean(training_mean, truth.values) for truth in truths]),
        },
        "floor": dict(zip(first.species, _json_safe(floor), strict=True)),
        "threshold": float(threshold),
        "trajectories": sum(len(truth.values) for truth in truths),
        **({} if first.known is None else {"known": _known_times(truths)}),
    }


def errors_of_all(
    predictions: Sequence[ArrayLike], truths: Sequence[Trajectories], floor: ArrayLike
) -> NDArray[np.float64]:
    """The NRMSE of the trajectories of all sizes of lattices, [N, T, C]; see `nrmse`.

    Example:
      >>> truth = Trajectories(np.arange(8.0).reshape(2, 1, 4, 1), [0], ("u",), Grid(4))
      >>> errors_of_all([truth.values], [truth], floor=[0.1]).shape
      (2, 1, 1)
    """
    return np.concatenate(
        [
            nrmse(prediction, truth.values, floor, truth.mask, truth.known)
            for prediction, truth in zip(predictions, truths, strict=True)
        ]
    )


def patterns(
    predictions: Sequence[ArrayLike], truths: Sequence[Trajectories], levels: Mapping[str, float]
) -> dict[str, Any]:
    """What the patterns are like, beside the truth's: where they are right, whatever their place.

    Args:
      predictions: at the truth's times, [N, T, *space, C] for each size of lattices.
      truths: held-out trajectories likewise.
      levels: for some species the value above which a cell counts as covered.

    Returns:
      {"wavelength": by species, {"truth": [T], "rule": [T]}, the dominant wavelength (see
      `spectra.dominant_wavelength`), medians over trajectories; null where a pattern is flat.
      "covered": by species of `levels`, {"level", "truth", "rule"}, the share of cells likewise.
      "drift": by species, {"truth", "rule"}: how far the sum over cells moves from that of the
      start, at most, over the sum of absolute values there; the largest of all trajectories}

    Example:
      >>> waves = np.cos(2 * np.pi * np.arange(16) / 8).reshape(1, 1, 16, 1)
      >>> truth = Trajectories(waves, [0], ("u",), Grid(16, spacing=0.5))
      >>> found = patterns([truth.values], [truth], levels={"u": 0.5})
      >>> [round(found["wavelength"]["u"]["rule"][0], 3), found["covered"]["u"]["truth"]]
      [4.0, [0.375]]
    """
    both = {"truth": [np.asarray(truth.values) for truth in truths], "rule": predictions}

    def by_snapshot(values, channel, measure):
        """Medians over all trajectories of a measure of (lattice, where it counts, grid), [T]."""
        table = [
            [measure(snapshot[..., channel], where, truth.grid) for snapshot in trajectory]
            for of_size, truth in zip(values, truths, strict=True)
            for trajectory, where in zip(
                of_size, map(truth.inside, range(len(of_size))), strict=True
            )
        ]
        return _json_safe(_over_trajectories(np.array(table))[0])

    def wavelength(lattice, where, grid):
        return dominant_wavelength(levelled(lattice, where), grid.spacing)

    def share_above(level) -> Callable:
        return lambda lattice, where, _: np.mean(
            (lattice if where is None else lattice[where]) > level
        )

    def drift(values, channel):
        worst = [_drift(*of_size, channel).max() for of_size in zip(values, truths, strict=True)]
        return _json_safe(np.max(worst))

    result: dict[str, Any] = {"wavelength": {}, "covered": {}, "drift": {}}
    for channel, name in enumerate(truths[0].species):
        with np.errstate(all="ignore"):
            result["wavelength"][name] = {
                who: by_snapshot(values, channel, wavelength) for who, values in both.items()
            }
            result["drift"][name] = {who: drift(values, channel) for who, values in both.items()}
        if name in levels:
            result["covered"][name] = {"level": levels[name]} | {
                who: by_snapshot(values, channel, share_above(levels[name]))
                for who, values in both.items()
            }
    return result


def _drift(values: ArrayLike, truth: Trajectories, channel: int) -> NDArray:
    """How far the sum over cells has moved since the start, over its first absolute one, [N, T]."""
    weight = 1.0 if truth.mask is None else truth.mask[:, None]
    sums = np.asarray(values)[..., channel].astype(np.float64) * weight
    sums = sums.reshape(*sums.shape[:2], -1)
    norm = np.maximum(np.abs(sums[:, :1]).sum(-1), 1e-300)
    return np.abs(sums.sum(-1) - sums[:, :1].sum(-1)) / norm


def conserved(scores: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The "drift" of those species in a summary whose sum over cells the truth conserves.

    Example:
      >>> moved = {"u": {"truth": 1e-7, "rule": 0.01}, "v": {"truth": 0.5, "rule": 0.5}}
      >>> conserved({"drift": moved})
      {'u': {'truth': 1e-07, 'rule': 0.01}}
    """
    drifts = scores.get("drift", {})
    # A drift that is no number is None.
    return {
        name: both
        for name, both in drifts.items()
        if both["truth"] is not None and both["truth"] < _CONSERVED
    }


def known_times(scores: Mapping[str, Any], species: str) -> list[int]:
    """The indices of the times at which a summary has an NRMSE of the species.

    Example:
      >>> known_times({"times": [0, 16, 32], "known": {"B": [0, 2]}}, "B")
      [0, 2]
      >>> known_times({"times": [0, 16, 32]}, "B")
      [0, 1, 2]
    """
    return scores.get("known", {}).get(species, list(range(len(scores["times"]))))


def _known_times(truths: Sequence[Trajectories]) -> dict[str, list[int]]:
    seen = np.any([np.asarray(truth.known).any(axis=0) for truth in truths], axis=0)
    return {
        name: np.flatnonzero(column).tolist()
        for name, column in zip(truths[0].species, seen.T, strict=True)
    }


def _medians_and_ranges(
    errors: NDArray, times: NDArray, species: Sequence[str], threshold: float
) -> dict[str, Any]:
    """The four keys of one candidate, from its errors [N, T, C]."""
    scores: dict[str, Any] = {
        "nrmse": {},
        "nrmse_range": {},
        "valid_time": {},
        "valid_time_range": {},
    }
    for name, error in zip(species, np.moveaxis(errors, -1, 0), strict=True):
        reached = (valid_time(one, times, threshold) for one in error)
        valid = np.array([math.inf if time is None else time for time in reached])
        for key, values in (("nrmse", error), ("valid_time", valid)):
            median, low, high = _over_trajectories(values)
            scores[key][name] = _json_safe(median)
            scores[f"{key}_range"][name] = {"low": _json_safe(low), "high": _json_safe(high)}
    return scores


def _over_trajectories(values: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Median, smallest and largest along the first axis, of what is not NaN."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        return tuple(reduce(values, axis=0) for reduce in (np.nanmedian, np.nanmin, np.nanmax))


def _mean_of_seen(errors: NDArray, axes: tuple[int, ...]) -> NDArray:
    """The mean over some axes of what is not NaN."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return np.nanmean(errors, axis=axes)


def _json_safe(values: ArrayLike) -> Any:
    """The same numbers as Python floats, with None for what JSON cannot hold."""
    values = np.asarray(values, np.float64)
    held = values.astype(object)
    held[~np.isfinite(values)] = None
    return held.tolist()
