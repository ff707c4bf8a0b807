"""`${{ … }}` in workflow files: text with expressions in it, compiled once and evaluated often.

Jinja's parser reads the expressions; `evaluate` decides what they may say and what they mean.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes

from clusterkit.errors import HearthError
from pipecatapp.workflow.evaluate import Names, check, evaluate, free_names
from pipecatapp.workflow.functions import EvaluationError, bounded, to_text

MAX_EXPRESSION = 4_000  #: characters between `${{` and `}}`
_START = "${{"


class ExpressionError(HearthError):
    """An expression is malformed, says something that is not allowed, or cannot be evaluated."""

    code = "expression"

    def __init__(self, where: str, problem: str) -> None:
        """`where` is file:line:column of the value, or whatever else helps to find it."""
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}")


@dataclass(frozen=True)
class Reference:
    """A name that an expression reads and the constant path behind it: `a.b[0]` is a, (b, 0)."""

    name: str
    path: tuple[str | int, ...]


@dataclass(frozen=True, eq=False)
class Template:
    """A text with at least one expression in it. A lone expression keeps the type of its value."""

    text: str
    where: str  #: file:line:column of the value
    parts: tuple[str | nodes.Expr, ...]
    references: tuple[Reference, ...]

    @property
    def single(self) -> nodes.Expr | None:
        """The expression, when the text is exactly one."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only if isinstance(only, nodes.Expr) else None

    def evaluate(self, names: Names) -> Any:
        """The value: any type for a lone expression, text otherwise. Raises `ExpressionError`."""
        try:
            if (lone := self.single) is not None:
                return evaluate(lone, names)
            texts = (part if isinstance(part, str) else to_text(evaluate(part, names)) for part in self.parts)
            return bounded("".join(texts))
        except (EvaluationError, RecursionError, OverflowError, ValueError) as error:
            raise ExpressionError(self.where, f"{_shown(self.text)}: {error}") from error


class Compiler:
    """Compiles texts and remembers each; one per graph."""

    def __init__(self) -> None:
        """Prepare Jinja's parser, its blocks and comments out of reach."""
        # NUL cannot occur in YAML, so neither a block nor a comment can be opened.
        self._parser = Environment(
            variable_start_string=_START, variable_end_string="}}", keep_trailing_newline=True,
            block_start_string="\0{%", block_end_string="%}\0",
            comment_start_string="\0{#", comment_end_string="#}\0",
        )  # fmt: skip
        self._compiled: dict[str, tuple[tuple[str | nodes.Expr, ...], tuple[Reference, ...]]] = {}

    def compile(self, text: str, where: str = "expression") -> Template | None:
        """The template in `text`, or None when it holds no expression. Raises `ExpressionError`."""
        if _START not in text:
            return None
        if text not in self._compiled:
            self._compiled[text] = self._parse(text, where)
        parts, references = self._compiled[text]
        return Template(text, where, parts, references)

    def _parse(self, text: str, where: str) -> tuple[tuple[str | nodes.Expr, ...], tuple[Reference, ...]]:
        if "\0" in text:
            raise ExpressionError(where, "a NUL character is not allowed")
        if _longest_expression(text) > MAX_EXPRESSION:
            raise ExpressionError(where, f"an expression is longer than {MAX_EXPRESSION} characters")
        try:
            parts = tuple(_parts(self._parser.parse(text)))
        except TemplateSyntaxError as error:
            raise ExpressionError(
                where, f"{_shown(text)}: {error.message}{_at_line(error.lineno)}"
            ) from error
        except (RecursionError, ValueError) as error:
            raise ExpressionError(where, f"{_shown(text)}: too deep or too large to parse") from error
        expressions = [part for part in parts if isinstance(part, nodes.Expr)]
        for expression in expressions:
            if wrong := check(expression):
                raise ExpressionError(where, f"{_shown(text)}: {wrong}{_at_line(expression.lineno)}")
        if len(expressions) == 1 and all(not part.strip() for part in parts if isinstance(part, str)):
            parts = (expressions[0],)
        references = (Reference(*pair) for expression in expressions for pair in free_names(expression))
        return parts, tuple(dict.fromkeys(references))


def _parts(template: nodes.Template) -> Iterator[str | nodes.Expr]:
    for output in template.body:
        # Nothing else can occur: block delimiters hold a NUL, which no text here does.
        for part in output.nodes if isinstance(output, nodes.Output) else ():
            yield part.data if isinstance(part, nodes.TemplateData) else part


def _longest_expression(text: str) -> int:
    return max((len(piece.partition("}}")[0]) for piece in text.split(_START)[1:]), default=0)


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _at_line(line: int) -> str:
    return f" (line {line} of the value)" if line > 1 else ""


def render(tree: Any, names: Names) -> Any:
    """A compiled tree with the values of its templates; deferred parts keep waiting, now knowing `names`."""
    if isinstance(tree, Template):
        return tree.evaluate(names)
    if isinstance(tree, Mapping):
        return {key: render(item, names) for key, item in tree.items()}
    if isinstance(tree, list):
        return [render(item, names) for item in tree]
    return tree


@dataclass(frozen=True, eq=False)
class Deferred:
    """A part of a block's configuration that is evaluated in the scope of its body, round by round."""

    tree: Any

    def evaluate(self, names: Names) -> Any:
        """The value in the scope of a finished round. Raises `ExpressionError`."""
        return render(self.tree, names)
