"""Sweeps: which combinations there are, what the k-th one is, and where it trains."""

import json
import re

import pytest
import tiny

from diffpattern import configuration, sweeps
from diffpattern.configs import sweep
from diffpattern.errors import InputError
from diffpattern.run_folder import RunFolder

RATE, HIDDEN = "optimiser.optax.learning_rate", "model.nca.network.hidden"
FILE = """
from diffpattern import sweeps
from diffpattern.configs import nca_gray_scott

def get_config(name=""):
    return nca_gray_scott.get_config()

"""


@pytest.fixture
def file(tmp_path):
    """A function from the lines of a config file's `get_sweep` to the file's path."""

    def write(*lines, head="def get_sweep():"):
        path = tmp_path / "file.py"
        path.write_text(FILE + "\n    ".join([head, *lines]) + "\n")
        return str(path)

    return write


def assert_refused(call, *words):
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert str(word) in message


def nca(**changes):
    return tiny.config(**{"model.name": "nca", "optimiser.name": "nadam"} | changes)


def test_a_product_has_each_with_each_and_the_last_changes_fastest():
    assert sweeps.product({"a": [1, 2], "b": (x for x in "xyz")}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 1, "b": "z"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
        {"a": 2, "b": "z"},
    ]
    assert sweeps.product({"seed": range(2)}) == [{"seed": 0}, {"seed": 1}]
    assert sweeps.product({"a": [1], "b": []}) == []


def test_what_is_zipped_goes_together_in_a_product_too():
    pairs = sweeps.zipped({"a": [1, 2], "b": [(8,), (64,)]})
    assert pairs == [{"a": 1, "b": (8,)}, {"a": 2, "b": (64,)}]
    assert sweeps.product(pairs, {"seed": [0, 1]}) == [
        {"a": 1, "b": (8,), "seed": 0},
        {"a": 1, "b": (8,), "seed": 1},
        {"a": 2, "b": (64,), "seed": 0},
        {"a": 2, "b": (64,), "seed": 1},
    ]


def test_parts_that_do_not_go_together_are_refused():
    assert_refused(lambda: sweeps.zipped({"a": [1, 2], "b": [3]}), "a has 2", "b has 1")
    assert_refused(lambda: sweeps.product({"a": [1]}, [{"a": 2}]), "a in two")
    for make in (sweeps.product, sweeps.zipped):
        assert_refused(lambda make=make: make({"optimiser.name": "adam"}), "'adam'", "list")


def test_the_example_has_six_combinations_that_work():
    config, combinations = sweep.get_config(), sweeps.read("configs/sweep.py")
    assert combinations == sweep.get_sweep()
    assert len(combinations) == 6
    for number, combination in enumerate(combinations):
        assert sweeps.choose("configs/sweep.py", number) == combination
        changed = sweeps.applied(config, combination, number)
        for field, value in combination.items():
            assert configuration.get(changed, field) == value
    assert config == sweep.get_config()  # left as it was


def test_a_combination_changes_its_fields_and_nothing_else():
    config = nca()
    changed = dict(configuration.leaves(sweeps.applied(config, {RATE: 1, HIDDEN: [3, 4]}, 0)))
    before = dict(configuration.leaves(config))
    assert {field for field in before if before[field] != changed[field]} == {RATE, HIDDEN}
    assert changed[RATE] == 1.0
    assert tuple(changed[HIDDEN]) == (3, 4)


@pytest.mark.parametrize(
    ("combination", "words"),
    [
        ({"optimiser.optax.learning_rat": 1.0}, ["optimiser.optax.learning_rat;", RATE]),
        ({"training": 3}, ["training"]),
        ({RATE: "fast"}, [RATE, "'fast'", "float"]),
        ({RATE: -1.0}, [RATE, "positive"]),
        ({HIDDEN: 8}, [HIDDEN, "8", "tuple"]),
        ({"solver.dt": 0.5}, ["solver.dt", "nothing uses it"]),
    ],
    ids=str,
)
def test_a_combination_that_cannot_be_is_refused_by_number(combination, words):
    assert_refused(lambda: sweeps.applied(nca(), combination, 7), "Combination 7", *words)


def test_what_is_given_by_hand_is_not_overruled_in_silence():
    config = nca()
    applied = sweeps.applied(config, {RATE: 0.5}, 2, given=["seed"])
    assert applied.optimiser.optax.learning_rate == 0.5
    call = lambda: sweeps.applied(config, {RATE: 0.5}, 2, given=["seed", RATE])
    assert_refused(call, f"--config.{RATE}", "combination 2", "0.5")


def test_a_file_may_yield_its_combinations_and_take_an_argument(file):
    path = file(
        "yield {'seed': 1}", "yield {'seed': len(name)}", head="def get_sweep(name='four'):"
    )
    assert sweeps.read(path) == [{"seed": 1}, {"seed": 4}]
    assert sweeps.read(path + ":one:two") == [{"seed": 1}, {"seed": 7}]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["return None"], ["NoneType", "list"]),
        (["return {'seed': [1, 2]}"], ["dict", "list"]),
        (["return []"], ["no combination"]),
        (["return [{'seed': 1}, ('seed', 2)]"], ["Combination 1", "('seed', 2)"]),
        (["return [{3: 1}]"], ["Combination 0", "{3: 1}"]),
        (["return sweeps.zipped({'a': [1], 'b': []})"], ["line 9", "b has 0"]),
        (["yield {'seed': 1}", "yield 1 / 0"], ["line 10", "ZeroDivisionError"]),
    ],
    ids=str,
)
def test_a_list_that_is_none_is_refused_with_the_file(file, lines, words):
    path = file(*lines)
    assert_refused(lambda: sweeps.read(path), path, *words)


@pytest.mark.parametrize("number", [-1, 6, 99])
def test_a_number_that_there_is_not_is_refused(number):
    call = lambda: sweeps.choose("configs/sweep.py", number)
    assert_refused(call, f"--sweep is {number}", "configs/sweep.py", "0 to 5")


def test_a_file_without_a_sweep_is_refused():
    assert_refused(lambda: sweeps.read("configs/pde.py"), "configs/pde.py", "get_sweep()")


def test_folders_are_named_by_number():
    name = lambda *arguments: str(sweeps.folder(*arguments).path)
    assert name("configs/sweep.py", 3) == "runs/sweep-003"
    assert name("/a/b/mine.py:fast", 1234) == "runs/mine-1234"
    assert name("configs/sweep.py", 12, "else/where-*/run") == "else/where-012/run"
    for pattern in ("runs/mine", "runs/*/*"):
        call = lambda pattern=pattern: sweeps.folder("configs/sweep.py", 0, pattern)
        assert_refused(call, "--workdirs", pattern, "one *")


def test_a_listing_tells_how_far_each_is(file, tmp_path):
    path = file("return sweeps.product({'seed': [4, 5, 6], 'training.steps': [2]})")
    pattern = str(tmp_path / "run-*")
    config = configuration.call(path, "get_config")
    for number, seed in enumerate((4, 5)):
        folder = RunFolder(tmp_path / f"run-00{number}")
        begun = sweeps.applied(config, {"seed": seed, "training.steps": 2}, number)
        folder.record(begun, path, {})
    folder.write("metrics/scalars.jsonl", json.dumps({"step": 2}) + "\n")
    folder.write("report.html", "<html>")

    lines = sweeps.listing(config, path, pattern).splitlines()
    assert path in lines[0]
    rows = [re.split(r" {2,}", line.strip()) for line in lines[1:]]
    assert [row[:3] for row in rows] == [
        ["0", "begun", str(tmp_path / "run-000")],
        ["1", "complete", str(tmp_path / "run-001")],
        ["2", "new", str(tmp_path / "run-002")],
    ]
    assert rows[2][3:] == ["seed=6", "training.steps=2"]
    # What is not theirs is told before anything runs.
    path = file("return sweeps.product({'seed': [4, 7]})")
    assert_refused(lambda: sweeps.listing(config, path, pattern), "seed is 7", "run-001")
    assert_refused(lambda: sweeps.listing(config, path, pattern, ["seed"]), "--config.seed")
