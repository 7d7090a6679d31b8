"""Running a small program without running it: an interpreter for a tiny, harmless part of Python.

Text of a model is never given to `exec` or `eval`. The syntax tree is walked here instead; anything that is not on the list
of known nodes, every attribute, import and unknown name is refused, and steps, numbers and sequences are bounded.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

MAX_STEPS = 20_000
MAX_BITS = 4_000
MAX_ITEMS = 10_000

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "divmod": divmod,
    "float": float,
    "gcd": math.gcd,
    "int": int,
    "len": len,
    "list": list,
    "max": max,
    "min": min,
    "range": range,
    "round": round,
    "sorted": sorted,
    "str": str,
    "sum": sum,
}
_FAILURES = (ArithmeticError, ValueError, TypeError, LookupError, MemoryError, RecursionError)


class ProgramError(ValueError):
    """The program is not in the known part of Python, fails, or runs too long."""


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


def run_program(source: str) -> list[str]:
    r"""The lines a program prints.

    Raises:
        ProgramError: it cannot be run here; this says nothing about whether it is right.

    >>> run_program("total = 3 * 8\ntotal += 8\nprint(total)")
    ['32']
    """
    machine = _Machine()
    try:
        machine.run(ast.parse(source).body)
    except (SyntaxError, *_FAILURES) as error:
        raise ProgramError(f"{type(error).__name__}: {error}") from error
    except (_Break, _Continue) as error:
        raise ProgramError("a loop statement outside a loop") from error
    return machine.printed


def evaluate(expression: str) -> Any:
    """The value of a single expression of numbers.

    Raises:
        ProgramError: it cannot be evaluated here.
    """
    try:
        return _Machine().value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, *_FAILURES) as error:
        raise ProgramError(f"{type(error).__name__}: {error}") from error


class _Machine:
    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.printed: list[str] = []
        self._steps = 0

    def run(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self._tick()
            match statement:
                case ast.Assign(targets=targets, value=value):
                    result = self.value(value)
                    for target in targets:
                        self._assign(target, result)
                case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                    self.names[name] = self._binary(op, self._name(name), self.value(value))
                case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=arguments, keywords=[])):
                    self.printed.append(" ".join(str(self.value(argument)) for argument in arguments))
                case ast.Expr(value=ast.Constant()) | ast.Pass():
                    pass
                case ast.If(test=test, body=then, orelse=otherwise):
                    self.run(then if self.value(test) else otherwise)
                case ast.While(test=test, body=inner, orelse=[]):
                    while self.value(test) and self._loop(inner):
                        self._tick()
                case ast.For(target=target, iter=source, body=inner, orelse=[]):
                    for item in self.value(source):
                        self._assign(target, item)
                        if not self._loop(inner):
                            break
                case ast.Break():
                    raise _Break
                case ast.Continue():
                    raise _Continue
                case _:
                    raise ProgramError(f"{type(statement).__name__} is not supported")

    def value(self, node: ast.expr) -> Any:
        self._tick()
        return _bounded(self._value(node))

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as constant):
                return constant
            case ast.Name(id=name):
                return self._name(name)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(op, self.value(left), self.value(right))
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
                return _UNARY[type(sign)](self.value(operand))
            case ast.BoolOp(op=ast.And(), values=values):
                return all(self.value(value) for value in values)
            case ast.BoolOp(op=ast.Or(), values=values):
                return any(self.value(value) for value in values)
            case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in _COMPARE for op in ops):
                sides = [self.value(left), *map(self.value, comparators)]
                return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False))
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                return self.value(then) if self.value(test) else self.value(otherwise)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.value(item) for item in items]
            case ast.Dict(keys=keys, values=values) if all(keys):
                return {self.value(key): self.value(value) for key, value in zip(keys, values, strict=True) if key}
            case ast.Subscript(value=container, slice=ast.Slice()):
                raise ProgramError("slices are not supported")
            case ast.Subscript(value=container, slice=index):
                return self.value(container)[self.value(index)]
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
                return self._call(name, [self.value(argument) for argument in arguments])
            case ast.JoinedStr(values=parts):
                return "".join(str(self.value(part)) for part in parts)
            case ast.FormattedValue(value=inner, conversion=-1, format_spec=None):
                return self.value(inner)
        raise ProgramError(f"{type(node).__name__} is not supported")

    def _loop(self, body: list[ast.stmt]) -> bool:
        """Run a loop's body once; whether to go on."""
        try:
            self.run(body)
        except _Break:
            return False
        except _Continue:
            return True
        return True

    def _assign(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                values = list(value)
                if len(values) != len(parts):
                    raise ProgramError("an assignment whose sides differ in length")
                for part, item in zip(parts, values, strict=True):
                    self._assign(part, item)
            case _:
                raise ProgramError(f"assignment to {type(target).__name__} is not supported")

    def _name(self, name: str) -> Any:
        if name not in self.names:
            raise ProgramError(f"the name {name!r} is not defined")
        return self.names[name]

    def _binary(self, op: ast.operator, left: Any, right: Any) -> Any:
        if type(op) not in _BINARY:
            raise ProgramError(f"{type(op).__name__} is not supported")
        if isinstance(op, ast.Pow) and not (abs(right) <= 64 and abs(left) <= 10**6):
            raise ProgramError("a power that is too large")
        if isinstance(op, ast.Mult) and not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise ProgramError("multiplication is supported for numbers only")
        if isinstance(op, ast.Mod) and isinstance(left, str):
            raise ProgramError("string formatting with % is not supported")
        return _BINARY[type(op)](left, right)

    def _call(self, name: str, arguments: list[Any]) -> Any:
        if name == "range" and len(range(*arguments)) > MAX_ITEMS:
            raise ProgramError("a range that is too long")
        return _FUNCTIONS[name](*arguments)

    def _tick(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise ProgramError(f"more than {MAX_STEPS} steps")


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ProgramError("a number that is too large")
    if isinstance(value, str | list | dict) and len(value) > MAX_ITEMS:
        raise ProgramError("a sequence that is too long")
    return value
