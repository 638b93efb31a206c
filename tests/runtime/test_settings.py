"""The table of settings: values are checked, paths are found, the reference page is the table's."""

from pathlib import Path

import pytest

from interactive3d.runtime.settings import SPECS, Settings, reference_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", SPECS)
def test_every_default_lies_in_its_own_range(path: str) -> None:
    assert Settings().set(path, SPECS[path].default).get(path) == SPECS[path].default
    assert SPECS[path].help


def test_setting_makes_a_new_value_and_leaves_the_old() -> None:
    old = Settings()
    new = old.set("lr.position", "0.01")
    assert new.lr.position == 0.01 and old.lr.position == SPECS["lr.position"].default
    assert new.differing() == {"lr.position": 0.01}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("lr.position", "fast", "lr.position: expected a number, got 'fast'"),
        ("lr.position", 7, "lr.position: expected 0 to 0.1, got 7"),
        ("lr.position", float("nan"), "expected 0 to 0.1, got nan"),
        ("camera.batch", 2.5, "camera.batch: expected a whole number, got 2.5"),
        ("camera.background", "plaid", "expected one of mixed, white, random, checker, grey, black"),
        ("repair.enabled", "maybe", "expected on or off"),
    ],
)
def test_wrong_values_say_what_was_expected(path: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings().set(path, value)  # type: ignore[arg-type]


def test_an_unknown_path_names_near_ones() -> None:
    with pytest.raises(KeyError, match=r"did you mean lr\.position"):
        Settings().get("lr.positon")


def test_the_reference_page_is_made_from_the_table() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == reference_page(), (
        "make it anew: interactive3d settings --markdown > docs/settings.md"
    )
