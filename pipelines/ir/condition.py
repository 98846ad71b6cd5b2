"""Conditions of `dsl.If` in the compiled pipeline: the part of CEL that the SDK writes.

That part is comparisons of parameters with constants or with each other, joined by `&&`, `||` and `!`, and casts by
`int()`. It differs from Python only in its signs, so it is put into Python's and evaluated by walking the syntax tree,
never by `eval`.

>>> evaluate("inputs.parameter_values['pipelinechannel--size'] == 4 && !(1 > 2)", {"pipelinechannel--size": 4})
True
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from pebr.errors import InputError

TOKEN = re.compile(
    r"inputs\.parameter_values\['(?P<parameter>[^']+)'\]"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<sign>&&|\|\||!(?!=)|\btrue\b|\bfalse\b)"
)
SIGNS = {"&&": " and ", "||": " or ", "!": " not ", "true": "True", "false": "False"}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def evaluate(expression: str, parameters: Mapping[str, Any]) -> bool:
    """The truth of a condition.

    Args:
        expression: the condition as the compiled pipeline has it.
        parameters: the values that it may ask for.

    Raises:
        InputError: when the expression is not of the part of CEL described above.
    """

    def in_python(found: re.Match[str]) -> str:
        if found["parameter"]:
            return repr(parameters[found["parameter"]])
        return found["text"] or SIGNS[found["sign"]]

    def value(node: ast.expr) -> Any:  # noqa: PLR0911 - one a kind of node
        match node:
            case ast.Constant(constant):
                return constant
            case ast.UnaryOp(ast.Not(), operand):
                return not value(operand)
            case ast.UnaryOp(ast.USub(), operand):
                return -value(operand)
            case ast.BoolOp(ast.And(), operands):
                return all(value(operand) for operand in operands)
            case ast.BoolOp(ast.Or(), operands):
                return any(value(operand) for operand in operands)
            case ast.Compare(left, [comparison], [right]) if type(comparison) in COMPARISONS:
                return COMPARISONS[type(comparison)](value(left), value(right))
            case ast.Call(ast.Name("int"), [argument], []):
                return int(value(argument))
        raise InputError(f"condition {expression}: cannot be read here: run the pipeline on Kubeflow")

    try:
        tree = ast.parse(TOKEN.sub(in_python, expression).strip(), mode="eval")
    except SyntaxError:
        raise InputError(f"condition {expression}: cannot be read here: run the pipeline on Kubeflow") from None
    return bool(value(tree.body))
