"""Evaluates conditions of `dsl.If` in the compiled pipeline: the subset of CEL that the SDK writes.

The subset has comparisons of parameters with constants or with each other, joined by `&&`, `||` and `!`, and casts by
`int()`. It differs from Python only in its operators. So they are replaced by Python's, and the syntax tree is
evaluated node by node, never with `eval`.

>>> evaluate("inputs.parameter_values['pipelinechannel--size'] == 4 && !(1 > 2)", {"pipelinechannel--size": 4})
True
"""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from pebr.errors import InputError
from pipelines.ir.plan import Json

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


def evaluate(expression: str, parameters: Json) -> bool:
    """Evaluate a condition of the compiled pipeline with these values of the parameters that it may name.

    Raises:
        InputError: the expression is not in the subset of CEL described above.
    """

    def in_python(found: re.Match[str]) -> str:
        if found["parameter"]:
            return repr(parameters[found["parameter"]])
        return found["text"] or SIGNS[found["sign"]]

    def value(node: ast.expr) -> Any:  # noqa: PLR0911 - one return per kind of node
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
