"""A field states everything about itself once; the settings of all steps do so."""

import dataclasses
import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

import pebr
from pebr.errors import InputError
from pebr.step.command import parse
from pebr.step.identity import facts_of
from pebr.step.settings import ANY_VALUE_RESUMES, Input, Output, Setting, StepSettings, fields

STEPS = sorted(path.parent.name for path in Path(pebr.__file__).parent.glob("*/__main__.py"))


@dataclass(frozen=True, kw_only=True)
class Group(StepSettings):
    """Shared by several steps."""

    samples: Annotated[int, "Answers per question."] = 8
    processes: Annotated[int, ANY_VALUE_RESUMES, "Processes."] = 0


@dataclass(frozen=True, kw_only=True)
class Settings(Group):
    """A step."""

    samples: int = 1
    model: Annotated[str, Input("Model"), "The model to read."]
    output: Annotated[str, Output(), "The result."] = ""
    engine: Annotated[Literal["vllm", "transformers"], "The engine."] = "vllm"


def field(name: str) -> Setting:
    return next(setting for setting in fields(Settings) if setting.name == name)


def test_a_field_has_its_type_default_help_role_and_choices() -> None:
    assert field("engine") == Setting("engine", str, "vllm", "The engine.", None, True, ("vllm", "transformers"))
    assert field("model").role == Input("Model")
    assert field("model").required
    assert not field("model").names_run
    assert field("processes").flag == "--processes"
    assert not field("processes").names_run


def test_a_changed_default_keeps_the_inherited_help() -> None:
    assert (field("samples").default, field("samples").help) == (1, "Answers per question.")


def test_help_texts_are_the_docstring() -> None:
    assert "    samples: Answers per question.\n" in (Settings.__doc__ or "")


def test_a_value_outside_the_choices_is_refused() -> None:
    with pytest.raises(InputError, match="--engine is 'sglang': give one of vllm, transformers"):
        Settings(model="m", engine="sglang")  # type: ignore[arg-type]


def test_a_field_without_help_is_refused() -> None:
    with pytest.raises(TypeError, match="width: no help text"):

        @dataclass(frozen=True, kw_only=True)
        class Silent(StepSettings):
            """A step."""

            width: int = 0


def test_a_run_is_named_by_results_and_not_by_places(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("1")
    settings = Settings(model=str(tmp_path), output="here")
    moved = dataclasses.replace(settings, output="there", processes=8, metrics="file")
    assert facts_of(settings) == facts_of(moved)
    assert facts_of(settings) != facts_of(dataclasses.replace(settings, samples=2))
    before = facts_of(settings)
    (tmp_path / "weights").write_text("2")
    assert facts_of(settings) != before
    assert facts_of(settings, ignoring=["model"]).keys() == {"samples", "engine"}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_reads_its_settings_from_flags(step: str) -> None:
    settings = importlib.import_module(f"pebr.{step}.settings").Settings
    words = [word for setting in fields(settings) if setting.required for word in (setting.flag, "x")]
    words += ["--clip-model", "x"] if step == "grpo" else []
    assert parse(settings, words) == settings(**{s.name: "x" for s in fields(settings) if s.flag in words})


def test_settings_import_neither_torch_nor_kubeflow() -> None:
    modules = ", ".join(f"pebr.{step}.settings" for step in STEPS)
    code = f"import sys, {modules}; sys.exit(bool({{'kfp', 'tyro'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
