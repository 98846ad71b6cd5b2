"""A field states everything about itself once; the settings of all steps do so."""

import dataclasses
import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

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


NUMBERS = [
    (step, setting)
    for step in STEPS
    for setting in fields(importlib.import_module(f"pebr.{step}.settings").Settings)
    if setting.type in (int, float)
]


def of_step(step: str, **values: object) -> StepSettings:
    """The settings of a step, of which only these matter."""
    kind = importlib.import_module(f"pebr.{step}.settings").Settings
    required: dict[str, object] = {s.name: "x" for s in fields(kind) if s.required}
    made: StepSettings = kind(**required | values)
    return made


@pytest.mark.parametrize(("step", "setting"), NUMBERS, ids=lambda value: getattr(value, "name", value))
@limits(max_examples=10)  # hypothesis begins with the values next to the bounds
@given(st.data())
def test_a_number_outside_its_bounds_is_refused(step: str, setting: Setting, data: st.DataObject) -> None:
    assert setting.bounds is not None
    assert setting.default is dataclasses.MISSING or not setting.bounds.correction(setting.default)  # type: ignore[arg-type]
    least, most = setting.bounds.least, setting.bounds.most
    if setting.type is int:
        outside: st.SearchStrategy[float] = st.integers(max_value=int(least) - 1) | st.integers(min_value=int(most) + 1)
    else:
        outside = st.just(float("nan")) | st.floats(max_value=least, exclude_max=not setting.bounds.above)
        outside |= st.floats(min_value=most, exclude_min=True)
    with pytest.raises(InputError, match=f"^{setting.flag} .*: give (at least|at most|more than) "):
        of_step(step, **{setting.name: data.draw(outside)})


@pytest.mark.parametrize(
    ("step", "values", "message"),
    [
        ("grpo", {"min_pixels": 5000, "max_pixels": 4000}, "--min-pixels 5000: give at most --max-pixels"),
        ("grpo", {"clip_dual": 0.5}, "--clip-dual 0.5: give more than 1, or 0 for no bound"),
        ("grpo", {"processes": 4, "tensor_parallel": 3}, "--tensor-parallel 3: give a divisor of --processes"),
        ("split", {"easy_at_least": 0.2, "hard_at_most": 0.6}, "give shares from 0 to 1, the first below the second"),
        ("sft", {"dtype": "bf16", "zero_stage": 0}, "--zero-stage 0 keeps no float32 weights"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(step: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        of_step(step, **values)


def test_settings_import_neither_torch_nor_kubeflow() -> None:
    modules = ", ".join(f"pebr.{step}.settings" for step in STEPS)
    code = f"import sys, {modules}; sys.exit(bool({{'kfp', 'tyro'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_import_no_library_that_a_machine_which_only_compiles_does_not_have() -> None:
    """The lines of .github/workflows/retrain.yml install these, and neither torch nor pyarrow."""
    heavy = "torch", "pyarrow", "transformers", "numpy", "PIL"
    code = "import sys, pipelines.parameters; print([name for name in sys.argv[1:] if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
