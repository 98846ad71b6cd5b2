"""The same pipeline through this runner and through the SDK's own local runner gives the same outputs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

# Python components: the one kind that the SDK's subprocess runner takes. Run as a file, so that the SDK finds sources.
SOURCE = """
import sys
from kfp import dsl, local
from kfp.compiler import Compiler

@dsl.component(install_kfp_package=False)
def count(text: str, words: dsl.Output[dsl.Dataset], told: dsl.Output[dsl.Metrics], upto: int = 3) -> int:
    parts = text.split()[:upto]
    with open(words.path, "w") as file:
        file.write("/".join(parts))
    words.metadata["language"] = "none"
    told.log_metric("parts", len(parts))
    return len(parts)

@dsl.component(install_kfp_package=False)
def double(number: int, rate: float, flag: bool) -> float:
    return number * rate * (2 if flag else 1)

@dsl.component(install_kfp_package=False)
def join(words: dsl.Input[dsl.Dataset], number: float, output: dsl.Output[dsl.Dataset]):
    with open(words.path) as file, open(output.path, "w") as target:
        target.write(f"{file.read()} {number} {words.metadata['language']}")

@dsl.component(install_kfp_package=False)
def say(text: str) -> str:
    return text

@dsl.pipeline(name="parity")
def parity(text: str = "a b c d", flag: bool = True, limit: int = 2) -> dsl.Dataset:
    counted = count(text=text)
    doubled = double(number=counted.outputs["Output"], rate=0.25, flag=flag)
    with dsl.If(flag == True):
        say(text=f"{doubled.output} of {text}").set_display_name("Taken")
    with dsl.If(limit > 5):
        say(text="never").set_display_name("Not taken")
    with dsl.If(limit > 5):
        many = double(number=counted.outputs["Output"], rate=0.75, flag=flag).set_display_name("Many")
    with dsl.Else():
        few = double(number=counted.outputs["Output"], rate=0.5, flag=flag).set_display_name("Few")
    return join(words=counted.outputs["words"], number=dsl.OneOf(many.output, few.output)).outputs["output"]

if __name__ == "__main__":
    Compiler().compile(parity, sys.argv[1])
    if len(sys.argv) > 2:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
        print("RESULT " + open(parity().output.path).read())
"""


def test_both_runners_agree(runner: Any, tmp_path: Path) -> None:
    source = tmp_path / "parity.py"
    source.write_text(SOURCE)
    command = [sys.executable, str(source), str(tmp_path / "parity.yaml"), str(tmp_path / "sdk")]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    theirs = next(line.removeprefix("RESULT ") for line in told.splitlines() if line.startswith("RESULT "))

    result = runner.run(tmp_path / "parity.yaml")
    assert result.returncode == 0, result.stderr
    assert runner.text("join") == theirs == "a/b/c 3.0 none"
    statuses = runner.statuses()
    assert statuses["count"]["parameters"] == {"Output": 3}
    assert statuses["double"]["parameters"] == {"Output": 1.5}
    assert statuses["taken"]["parameters"] == {"Output": "1.5 of a b c d"}
    assert statuses["not-taken"]["state"] == statuses["many"]["state"] == "skipped"
    assert statuses["count"]["artifacts"]["told"]["metadata"] == {"parts": 3}
    (their_words,) = (tmp_path / "sdk").rglob("words")
    assert runner.text("count", "words") == their_words.read_text()
