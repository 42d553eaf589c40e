"""The small changes that a mutation run makes to a module, one at a time.

Each change is one that a reader could have written by mistake: a comparison off by one, an `and` for an `or`, a negated
condition, a value that is not returned, a statement that is missing. What only people read (docstrings, messages, logs)
and what only type checkers read (annotations) stays.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


@dataclass(frozen=True)
class Mutation:
    """`where` is the function or class; `number` tells apart equal changes of it. `module` is the source without it."""

    where: str
    before: str
    after: str
    number: int
    line: int
    module: str
    point: int

    @property
    def key(self) -> str:
        """The same in a module to which lines were added elsewhere."""
        return f"{self.where}: {self.before} -> {self.after} #{self.number}"

    @property
    def source(self) -> str:
        """The whole module, changed in this place."""
        mutator = _Mutator(self.point)
        return ast.unparse(ast.fix_missing_locations(mutator.visit(ast.parse(self.module))))


def mutations(source: str) -> Iterator[Mutation]:
    """Every mutation of a module's source, in the order of its lines."""
    finder = _Mutator(None)
    finder.visit(ast.parse(source))
    seen: Counter[tuple[str, str, str]] = Counter()
    for point, (where, before, after, line) in enumerate(finder.found):
        seen[where, before, after] += 1
        yield Mutation(where, before, after, seen[where, before, after], line, source, point)


class _Mutator(ast.NodeTransformer):
    """Finds the points at which something can be changed, and changes it at `target`."""

    def __init__(self, target: int | None) -> None:
        self.found: list[tuple[str, str, str, int]] = []
        self._target = target
        self._scope: list[str] = []

    def _choose(self, node: ast.AST, *alternatives: ast.AST) -> ast.AST:
        chosen = node
        for alternative in alternatives:
            if len(self.found) == self._target:
                chosen = alternative
            where = ".".join(self._scope) or "module"
            self.found.append((where, _text(node), _text(alternative), getattr(node, "lineno", 0)))
        return chosen

    # What is left as it is

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        node.value = self.visit(node.value)
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.defaults = [self.visit(each) for each in node.defaults]
        node.kw_defaults = [self.visit(each) if each is not None else None for each in node.kw_defaults]
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return node

    # Definitions

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._definition(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._definition(node)

    def _definition(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        self._scope.append(node.name)
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        if isinstance(node, ast.FunctionDef):
            node.args = self.visit(node.args)
        node.body = [self.visit(each) for each in node.body]
        self._scope.pop()
        return node

    # Statements

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        is_text = isinstance(node.value, ast.Constant)
        if is_text or (isinstance(node.value, ast.Call) and _text(node.value.func).startswith("log.")):
            return node
        return self._statement(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        return self._statement(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """What is raised is not changed, whether it is."""
        return self._choose(node, ast.Pass())

    def _statement(self, node: ast.stmt) -> ast.AST:
        original = deepcopy(node)
        inside = self.generic_visit(node)
        return ast.Pass() if self._choose(original, ast.Pass()) is not original else inside

    def visit_Return(self, node: ast.Return) -> ast.AST:
        original = deepcopy(node)
        inside = self.generic_visit(node)
        if node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None):
            return inside
        nothing = ast.Return(ast.Constant(None))
        return nothing if self._choose(original, nothing) is nothing else inside

    def visit_Break(self, node: ast.Break) -> ast.AST:
        return self._choose(node, ast.Continue())

    def visit_Continue(self, node: ast.Continue) -> ast.AST:
        return self._choose(node, ast.Break())

    def visit_If(self, node: ast.If) -> ast.AST:
        return self._condition(node)

    def visit_While(self, node: ast.While) -> ast.AST:
        return self._condition(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        return self._condition(node)

    def _condition(self, node: ast.If | ast.While | ast.IfExp) -> ast.AST:
        test = deepcopy(node.test)
        inside = self.generic_visit(node)
        assert isinstance(inside, ast.If | ast.While | ast.IfExp)
        negated = ast.UnaryOp(ast.Not(), test)
        if not isinstance(test, ast.Compare | ast.UnaryOp) and self._choose(test, negated) is negated:
            inside.test = negated
        return inside

    # Expressions

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        original = deepcopy(node)
        inside = self.generic_visit(node)
        for index, operator in enumerate(original.ops):
            changed = deepcopy(original)
            changed.ops[index] = COMPARISONS[type(operator)]()
            if self._choose(original, changed) is changed:
                return changed
        return inside

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        original = deepcopy(node)
        inside = self.generic_visit(node)
        changed = deepcopy(original)
        changed.op = ast.Or() if isinstance(original.op, ast.And) else ast.And()
        return changed if self._choose(original, changed) is changed else inside

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        original = deepcopy(node)
        inside = self.generic_visit(node)
        if type(original.op) not in ARITHMETIC or _is_text(original.left) or _is_text(original.right):
            return inside
        changed = deepcopy(original)
        changed.op = ARITHMETIC[type(original.op)]()
        return changed if self._choose(original, changed) is changed else inside

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        original = deepcopy(node)
        inside = self.generic_visit(node)
        if not isinstance(original.op, ast.Not):
            return inside
        return original.operand if self._choose(original, original.operand) is original.operand else inside

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        if isinstance(value, bool):
            return self._choose(node, ast.Constant(not value))
        if isinstance(value, int | float):
            return self._choose(node, ast.Constant(value + 1))
        if isinstance(value, str) and value and " " not in value:
            return self._choose(node, ast.Constant(f"not {value}"))
        return node


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())
