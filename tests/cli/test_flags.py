"""A setting that is declared as a field is a flag, checked, and reaches the command as part of its dataclass."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

from mmr5.cli.flags import Only, Without, flags
from mmr5.errors import ConfigError
from mmr5.models import Recipe
from mmr5.settings import (
    CorpusSettings,
    EvaluationSettings,
    MethodSettings,
    ModelSettings,
    SearchSettings,
    ServerSettings,
    TableSettings,
    WorkerSettings,
    check,
    knob,
    knobs,
    same,
)


@dataclass(frozen=True)
class Inner:
    share: float = knob(1.0, "A share.", above=0, high=1)
    loud: bool = knob(False, "Say more.")


@dataclass(frozen=True)
class Outer:
    folder: str = knob(field().default, "A folder.", argument=True)
    kind: Literal["a", "b"] = knob("a", "Which one.")
    size: int = knob(2 * 1024, "Most KiB.", low=1, flag="size-kib", unit=1024)
    names: tuple[str, ...] = knob((), "A name.", flag="name")
    place: Path | None = knob(None, "A place.", shown="nowhere")
    hidden: int = knob(7, "Never a flag.", flag="")
    given: dict = field(default_factory=dict, metadata={"given": Inner})


def run(hint, *arguments):
    """What a command with one parameter of settings is called with."""
    seen = []
    app = typer.Typer(add_completion=False, rich_markup_mode=None)

    def command(settings, extra: int = 0) -> None:
        seen.append(settings)

    command.__annotations__["settings"] = hint
    app.command()(flags(command))
    app([*arguments], standalone_mode=False)
    return seen[0]


def test_defaults_are_the_fields_own_and_given_settings_are_those_that_were_said():
    assert run(Outer, "f") == Outer("f")
    said = run(
        Outer, "f", "--kind", "b", "--size-kib", "5", "--name", "x", "--name", "y", "--place", "p", "--share", "1", "--loud"
    )
    assert said == Outer("f", "b", 5 * 1024, ("x", "y"), Path("p"), given={"share": 1.0, "loud": True})


@pytest.mark.parametrize(
    "wrong", [["f", "--kind", "c"], ["f", "--size-kib", "0"], ["f", "--share", "1.5"], ["f", "--hidden", "1"], []]
)
def test_what_a_field_does_not_allow_is_wrong_usage(wrong):
    with pytest.raises(Exception) as caught:
        run(Outer, *wrong)
    assert caught.value.exit_code == 2


def test_a_command_may_take_some_of_the_fields():
    assert run(Annotated[Outer, Only("folder", "kind")], "f", "--kind", "b") == Outer("f", "b")
    with pytest.raises(Exception, match="--share"):
        run(Annotated[Outer, Only("folder", "kind")], "f", "--share", "1")
    assert run(Annotated[Outer, Without("kind")], "f", "--share", "1").given == {"share": 1.0}
    with pytest.raises(Exception, match="--kind"):
        run(Annotated[Outer, Without("kind")], "f", "--kind", "b")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"share": 0.0}, "share is 0.0: give more than 0"),
        ({"share": 1.5}, "share is 1.5: give at most 1"),
        ({"share": float("nan")}, "nan"),
    ],
)
def test_bounds_hold_in_the_library_too(wrong, said):
    with pytest.raises(ConfigError, match=said):
        check(Inner(**wrong))


def test_a_setting_is_declared_once():
    """The same name in two dataclasses is one declaration, but for the words that evaluation puts otherwise."""
    kinds = (
        MethodSettings,
        ModelSettings,
        SearchSettings,
        CorpusSettings,
        EvaluationSettings,
        TableSettings,
        WorkerSettings,
        Recipe,
        ServerSettings,
    )
    found = {}
    for kind in kinds:
        for name, declared in knobs(kind).items():
            found.setdefault(name, []).append((kind.__name__, declared))
    own_words = {
        ("EvaluationSettings", "retriever"),
        ("EvaluationSettings", "model"),
        ("ModelSettings", "view"),
        ("Recipe", "method"),
        ("ServerSettings", "max_pixels"),
    }
    twice = [
        (kind, name)
        for name, all_of in found.items()
        for kind, declared in all_of[1:]
        if declared is not all_of[0][1] and (kind, name) not in own_words and name != "view"
    ]
    assert twice == []


def test_a_recipe_speaks_of_settings_by_their_own_names():
    settings = {f.name for kind in (MethodSettings, ModelSettings, SearchSettings) for f in fields(kind)}
    assert {f.name for f in fields(Recipe)} - settings == {
        "calibrations",
        "max_pixels",
        "prompt",
        "prompt_fingerprint",
        "languages",
        "other_fusion",
    }
    assert set(Recipe().method_settings("reason")) <= {f.name for f in fields(MethodSettings)}
    assert same(SearchSettings, "fusion").metadata["knob"] is knobs(Recipe)["fusion"]
