"""Linear equations in one unknown: undo the constant, then the factor."""

from __future__ import annotations

import ast
from typing import Any

from qrdistill.tasks.base import Solution
from qrdistill.tasks.reasoning.derivation import Pen, near_misses
from qrdistill.tasks.reasoning.family import Draft, Family
from qrdistill.types import Question


def read(item: dict[str, Any]) -> Draft | None:
    """Ask for the unknown."""
    variable, equation = item["metadata"]["variable"], item["metadata"]["equation"]
    left, right = equation.split(" = ")
    factor, constant = _linear(left, variable)
    written = _written(factor, constant, variable)
    return Draft(
        text=f"Solve for {variable}: {written} = {right}",
        gold=item["answer"],
        level="with a constant" if constant else "factor only",
        metadata={"variable": variable, "factor": factor, "constant": constant, "right": int(right)},
    )


def derive(question: Question, pen: Pen) -> Solution:
    """Move the constant, divide by the factor; the check puts the answer back into the equation."""
    variable = str(question.metadata["variable"])
    factor, constant, right = (int(question.metadata[key]) for key in ("factor", "constant", "right"))
    gold, isolated = int(question.gold), right
    if constant:
        computed = right - constant
        verb, sign = ("take", "-") if constant > 0 else ("add", "+")
        pen.fact(f"{constant if constant < 0 else f'+ {constant}'} is undone by {sign} {abs(constant)}")
        wrong = (*near_misses(computed), right + constant)
        if factor == 1:
            shown, isolated = pen.final(computed, wrong, gold)
        else:
            shown, isolated = pen.value("step", computed, wrong)
        left = variable if factor == 1 else _written(factor, 0, variable)
        place = "from" if verb == "take" else "to"
        pen.step(
            f"{verb} {abs(constant)} {place} both sides: {{}}, so {left} = {shown}", f"{right} {sign} {abs(constant)} = {shown}"
        )
    value = isolated
    if factor != 1:
        pen.fact(f"* {factor} is undone by / {factor}")
        computed = _quotient(isolated, factor)
        shown, value = pen.final(computed, near_misses(computed), gold)
        pen.step(f"divide by {factor}: {{}}, so {variable} = {shown}", f"{isolated} / {factor} = {shown}")
    _check(factor, constant, value, pen)
    _weigh(factor, constant, right, value, variable, pen)
    in_code, _ = pen.value("program", constant, tuple(constant + d * abs(factor) for d in (1, -1, 2)))
    inverse = f"({right} - {in_code if in_code >= 0 else f'({in_code})'})"
    program = f"{variable} = {inverse} // {factor}\nprint({variable})"
    return pen.solution(program=program, printed=str(value), answer=str(value))


def _quotient(number: int, factor: int) -> int:
    """The nearest whole quotient (exact unless a slip came before)."""
    return round(number / factor)


def _check(factor: int, constant: int, value: int, pen: Pen) -> None:
    product = factor * value
    if factor != 1:
        shown, product = pen.value("check", product, near_misses(product))
        pen.check("{}", f"{factor} * {value} = {shown}")
    if constant:
        shown, _ = pen.value("check", product + constant, near_misses(product + constant))
        pen.check("{}", f"{product} {'+' if constant > 0 else '-'} {abs(constant)} = {shown}")
    last = pen.checks.pop()
    pen.check("{}, the right side", last.brief)


def _weigh(factor: int, constant: int, right: int, value: int, variable: str, pen: Pen) -> None:
    """Put a neighbour of the answer into the equation."""
    guess = value - 1 if value > 1 else value + 1
    reached = factor * guess + constant
    shown, _ = pen.value("candidate", reached, near_misses(reached))
    terms = [str(guess) if factor == 1 else f"{factor} * {guess}"]
    if constant:
        terms.append(f"{'+' if constant > 0 else '-'} {abs(constant)}")
    pen.candidate(f"{variable} = {guess} gives {' '.join(terms)} = {shown}", f"the right side is {right}")


def _written(factor: int, constant: int, variable: str) -> str:
    head = variable if factor == 1 else f"-{variable}" if factor == -1 else f"{factor} * {variable}"
    return f"{head} {'+' if constant > 0 else '-'} {abs(constant)}" if constant else head


def _linear(expression: str, variable: str) -> tuple[int, int]:
    """Factor and constant of a linear expression with whole coefficients."""

    def walk(node: ast.expr) -> tuple[int, int]:
        match node:
            case ast.Constant(value=int(number)):
                return 0, number
            case ast.Name(id=name) if name == variable:
                return 1, 0
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                a, b = walk(operand)
                return -a, -b
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                (a, b), (c, d) = walk(left), walk(right)
                return a + c, b + d
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                (a, b), (c, d) = walk(left), walk(right)
                return a - c, b - d
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                (a, b), (c, d) = walk(left), walk(right)
                return a * d + c * b, b * d
        raise AssertionError(f"{expression!r} is not linear in {variable}")

    return walk(ast.parse(expression, mode="eval").body)


FAMILY = Family(
    name="simple_equations",
    dataset="simple_equations",
    kind="number",
    parameters={
        "min_terms": 2,
        "max_terms": 2,
        "min_value": 1,
        "max_value": 9,
        "operators": ["+", "-", "*"],
        "operators_weights": [0.5, 0.5, 0.0],
    },
    read=read,
    derive=derive,
)
"""One unknown, one factor, one constant."""
