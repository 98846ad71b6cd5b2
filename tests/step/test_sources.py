"""The code of a step and of its plug-ins is part of a run's name: only files that are imported, each by itself."""

import dataclasses
from pathlib import Path

import pytest

from pebr.errors import InputError
from pebr.grpo.settings import Settings
from pebr.step.identity import differences, facts_of, few, run_name
from pebr.step.sources import closure, code_of, code_of_plugins


def test_a_step_has_the_code_that_it_imports() -> None:
    code = code_of("pebr.sft")
    assert {"sft/work.py", "training/engine.py", "step/command.py"} <= code.keys()
    assert not {path for path in code if path.startswith(("grpo/", "rewards/", "report/"))}
    assert code_of("tests.step.test_sources") == {}


PLUGIN = {
    "mine.py": "from helper import FACTOR\nimport numpy\ndef f(batch): ...\n",
    "helper.py": "FACTOR = 1\n",
    "unused.py": "",
    "pack/__init__.py": "",
    "pack/rewards.py": "from . import words\nfrom .deep import more\nfrom helper import FACTOR\ndef g(batch): ...\n",
    "pack/words.py": "",
    "pack/deep/__init__.py": "",
    "pack/deep/more.py": "from ..words import X\n",
    "pack/unused.py": "",
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in PLUGIN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("by_file", [False, True])
def test_a_module_has_the_files_beside_it_that_it_imports(plugin: Path, by_file: bool) -> None:
    assert code_of_plugins(f"{plugin / 'mine.py' if by_file else 'mine'}:f=1").keys() == {"mine.py", "helper.py"}


def test_a_package_has_its_modules_by_relative_imports_too(plugin: Path) -> None:
    used = {f"pack/{name}.py" for name in ("__init__", "rewards", "words", "deep/__init__", "deep/more")}
    assert code_of_plugins("pack.rewards:g=1").keys() == used | {"helper.py"}


def test_an_installed_package_has_its_own_modules_only() -> None:
    code = code_of_plugins("hypothesis.errors:f=1")
    assert "errors.py" in code
    assert "__init__.py" in code
    assert not any("sortedcontainers" in name for name in code)


@pytest.mark.parametrize("text", ["", "nowhere.module:f=1", "nowhere.py:f=1", "wrong", "=1", "sys:exit=1"])
def test_what_is_not_there_has_no_code(text: str) -> None:
    assert code_of_plugins(text) == {}


@pytest.mark.parametrize("name", sorted(PLUGIN))
def test_a_run_is_named_by_the_code_of_its_rewards(plugin: Path, name: str, tmp_path: Path) -> None:
    settings = Settings(model="m", dataset="d", output="o", history="h", rollouts="r", reward="mine:f=1")
    before = facts_of(settings)
    (plugin / name).write_text(PLUGIN[name] + "# changed\n")
    after = facts_of(settings)
    used = name in ("mine.py", "helper.py")
    assert (run_name(before) != run_name(after)) == used
    assert differences(before, after) == ([f"rewards of {name}"] if used else [])


def test_differences_are_told_by_setting_and_by_file() -> None:
    settings = Settings(model="m", dataset="d", output="o", history="h", rollouts="r")
    here = facts_of(settings)
    code = {**here["code"], "grpo/loss.py": "0"}  # type: ignore[dict-item]
    there = facts_of(dataclasses.replace(settings, learning_rate=1e-5, model="other")) | {"code": code}
    told = "code of grpo/loss.py, learning_rate 1e-05 there, 1e-06 here, model 'other' there, 'm' here"
    assert few(differences(there, here)) == told
    many = facts_of(dataclasses.replace(settings, seed=1, samples=2, epochs=3, lora_rank=4, max_steps=5, kl_weight=6.0))
    assert few(differences(many, here)).endswith(" and 1 more")


def test_a_file_that_cannot_be_read_is_named(plugin: Path) -> None:
    (plugin / "helper.py").write_text("x = (\n")
    with pytest.raises(InputError, match=r"helper.py, line 1: .* never closed"):
        closure(["mine"], plugin)
