import pytest

from diffpattern import named_numbers
from diffpattern.errors import InputError


def test_numbers_of_a_name_are_read():
    found = named_numbers.read(
        ("a=0,1.5", "b=2"), lambda name, _: name in "ab", field="f", form="NAME=NUMBER"
    )
    assert found == {"a": [0.0, 1.5], "b": [2.0]}


@pytest.mark.parametrize("entry", ["c=1", "a=", "a=1,,2", "a=1,nan", "a=one", "a"])
def test_what_is_no_such_entry_is_refused(entry):
    with pytest.raises(InputError, match=f"^f has the entry '{entry}'; write NAME=NUMBER.$"):
        named_numbers.read((entry,), lambda name, _: name == "a", field="f", form="NAME=NUMBER")


def test_factors_are_read():
    found = named_numbers.read_factors(
        ("network/out=2", "diffusion=1e-1"), field="f", example="a=1"
    )
    assert found == {"network/out": 2.0, "diffusion": 0.1}


@pytest.mark.parametrize(
    "entry", ["network", "network=", "=2", "network=two", "network=0", "a=-1", "a=nan", "a=inf", 3]
)
def test_what_is_no_factor_is_refused(entry):
    with pytest.raises(InputError) as error:
        named_numbers.read_factors(("b=2", entry), field="a.field", example="diffusion=0.1")
    message = str(error.value)
    assert "a.field" in message and repr(entry) in message and "'diffusion=0.1'" in message


def test_a_name_that_comes_twice_is_refused():
    with pytest.raises(InputError, match="a.field names 'b' twice"):
        named_numbers.read_factors(("b=2", "b=3"), field="a.field", example="a=1")
