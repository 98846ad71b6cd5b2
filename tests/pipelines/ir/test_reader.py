"""Conditions and values of the compiled pipeline, as Kubeflow means them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfp import dsl

from pebr.errors import InputError
from pipelines.ir import condition
from pipelines.ir.plan import Constant, FirstOf, Output, Template
from pipelines.ir.reader import Pipeline
from pipelines.ir.values import Missing, command_line, inputs_of, resolve, written

NAME = "pipelinechannel--x"


@pytest.mark.parametrize(
    ("expression", "value", "true"),
    [
        ("inputs.parameter_values['pipelinechannel--x'] == true", True, True),
        ("!(inputs.parameter_values['pipelinechannel--x'] == true)", True, False),
        ("int(inputs.parameter_values['pipelinechannel--x']) >= 4", 4.0, True),
        ("inputs.parameter_values['pipelinechannel--x'] == 'a && b'", "a && b", True),
        ("inputs.parameter_values['pipelinechannel--x'] != 'it'", "it", False),
        ("inputs.parameter_values['pipelinechannel--x'] > -1.5 && !(1 > 2) || false", 0.0, True),
        ("!(inputs.parameter_values['pipelinechannel--x'] == 1) && !(1 == 2)", 1, False),
    ],
)
def test_conditions_are_decided_as_cel_means_them(expression: str, value: Any, true: bool) -> None:
    assert condition.evaluate(expression, {NAME: value}) is true


@given(st.text(alphabet="ab'\\\" &|!()=", max_size=12))
def test_a_texts_signs_are_never_part_of_a_condition(text: str) -> None:
    assert condition.evaluate(f"inputs.parameter_values['{NAME}'] == 'q'", {NAME: text}) is (text == "q")


@pytest.mark.parametrize("expression", ["__import__('os')", "a.b", "1 +", "size(x) == 1", "[1][0] == 1"])
def test_any_other_expression_is_refused(expression: str) -> None:
    with pytest.raises(InputError, match="run the pipeline on Kubeflow"):
        condition.evaluate(expression, {})


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (4, "4"), (1e-6, "1e-06"), ("as it is", "as it is"), ([1, "a"], '[1, "a"]')]
)
def test_parameters_are_written_as_a_command_line_has_them(value: Any, text: str) -> None:
    assert written(value) == text


def test_the_first_branch_that_exists_gives_the_value() -> None:
    def value_of(output: Output) -> str:
        if output.step == "skipped":
            raise Missing(output.step)
        return output.step

    both = FirstOf((Output("skipped", "o"), Output("taken", "o")))
    assert resolve(both, value_of) == "taken"
    assert resolve(Template("{{$.inputs.parameters['p']}}/x", (("p", both),)), value_of) == "taken/x"
    assert resolve(Constant(3), value_of) == 3
    with pytest.raises(Missing):
        resolve(FirstOf((Output("skipped", "o"),)), value_of)


def test_placeholders_give_way_to_values(runner: Any) -> None:
    @dsl.container_component
    def odd(
        data: dsl.Input[dsl.Dataset], output: dsl.Output[dsl.Model], rate: float, more: dsl.Input[dsl.Dataset] = None
    ):
        return dsl.ContainerSpec(
            image="none",
            command=["tool", f"--rate={rate}", dsl.ConcatPlaceholder(["--in=", data.path])],
            args=[dsl.IfPresentPlaceholder("more", then=["--more", more.path], else_=["--less"]), output.uri, "{{$}}"],
        )

    @dsl.pipeline(name="odd")
    def pipeline(rate: float = 0.5):
        made = runner.make(text="x")
        odd(data=made.output, rate=rate).set_display_name("Less")
        odd(data=made.output, rate=1.0, more=made.output).set_display_name("More")

    steps = {step.id: step for step in Pipeline(runner.compile(pipeline)).plan({})}
    less = words(steps["less"])
    assert less[:5] == ["tool", "--rate=0.5", "--in=/in/data", "--less", "/out/output"]
    assert '"rate": 0.5' in less[5]
    assert words(steps["more"])[:5] == ["tool", "--rate=1.0", "--in=/in/data", "--more", "/in/more"]


def words(step: Any) -> list[str]:
    """A step's command, its artifacts at /in/NAME and /out/NAME."""
    parameters, artifacts = inputs_of(step, lambda output: output)
    told = {
        "inputs": {
            "parameterValues": parameters,
            "artifacts": {n: {"artifacts": [{"uri": f"/in/{n}"}]} for n in artifacts},
        },
        "outputs": {
            "parameters": {},
            "artifacts": {n: {"artifacts": [{"uri": f"/out/{n}"}]} for n in step.artifact_outputs},
            "outputFile": "/out/told",
        },
    }
    return command_line(step, told, {})


def test_nested_pipelines_are_flattened(runner: Any) -> None:
    @dsl.pipeline(name="inner")
    def inner(text: str, other: dsl.Input[dsl.Dataset]) -> dsl.Dataset:
        made = runner.make(text=f"<{text}>").set_display_name("Inner")
        return runner.join(left=made.output, right=other).set_display_name("Joined").output

    @dsl.pipeline(name="outer")
    def pipeline(text: str = "t"):
        first = runner.make(text="first").set_display_name("First")
        nested = inner(text=text, other=first.output)
        runner.join(left=nested.output, right=first.output).set_display_name("Last")

    steps = {step.id: step for step in Pipeline(runner.compile(pipeline)).plan({"text": "x"})}
    assert set(steps) == {"first", "inner", "joined", "last"}
    assert steps["last"].artifacts["left"] == Output("joined", "output")
    assert steps["last"].after == {"first", "inner", "joined"}
    assert inputs_of(steps["inner"], lambda output: output)[0]["text"] == "<x>"


def test_what_is_not_supported_is_refused_by_name(runner: Any) -> None:
    @dsl.pipeline(name="loop")
    def loop():
        with dsl.ParallelFor(["a", "b"]) as text:
            runner.make(text=text)

    @dsl.pipeline(name="exit")
    def handler():
        with dsl.ExitHandler(runner.make(text="last")):
            runner.make(text="first")

    @dsl.pipeline(name="importer")
    def importer():
        dsl.importer(artifact_uri="gs://a/b", artifact_class=dsl.Dataset)

    for pipeline, told in ((loop, "loops"), (handler, "exit handlers"), (importer, "importers")):
        with pytest.raises(InputError, match=told):
            Pipeline(runner.compile(pipeline)).plan({})
