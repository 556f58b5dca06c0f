"""Templates that operators write: Jinja2 in a sandbox, with limits of time and memory enforced from within.

The compiled tree is rewritten before code is made of it, so that every loop, call, comparison and growing value
passes a `Budget`. A rendering therefore ends within about 50 ms and makes at most a few million characters, in
whatever thread it runs; nothing has to be interrupted from outside.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.lexer import Lexer
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context
from jinja2.visitor import NodeTransformer

from otjd.rules.budget import INTEGER_BITS, Budget, LimitExceededError
from otjd.rules.filters import (
    SMALL_ARGUMENT,
    NotApplicable,
    Surroundings,
    check_printf,
    filters,
    functions,
    replaced,
    text,
)
from otjd.rules.positions import PlacingLexer, told

OUTPUT_LIMIT = 1000
"""Characters of a rendered alias or subject."""

_DEPTH_LIMIT = 60
# No template can spell these names: they hold blanks.
_BUDGET = "the budget"
_GUARD, _GUARD_LOOP, _CONCAT = "guard value", "guard loop", "guard concat"
_REFUSED = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block, nodes.EvalContextModifier)
_TESTS = frozenset({
    "boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float", "ge", "greaterthan", "gt",
    "in", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none", "number", "odd",
    "sequence", "string", "true", "undefined", "upper", "==", "!=", "<", "<=", ">", ">=",
})
_ATTRIBUTES: tuple[tuple[type, frozenset[str]], ...] = (
    (str, frozenset({
        "capitalize", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit", "islower",
        "isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rsplit",
        "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
    })),
    (dict, frozenset({"get", "items", "keys", "values"})),
    (list, frozenset({"count", "index"})),
    (tuple, frozenset({"count", "index"})),
    (LoopContext, frozenset({
        "cycle", "depth", "depth0", "first", "index", "index0", "last", "length", "nextitem", "previtem",
        "revindex", "revindex0",
    })),
)


class TemplateFailure(ValueError):  # noqa: N818 - the public name
    """A template cannot be compiled or rendered; the text says why, and where if that is known."""


class Template:
    """One compiled template. May be rendered from several threads at a time."""

    def __init__(self, template: jinja2.Template, clock: Callable[[], float], limit: int) -> None:
        self._template = template
        self._clock = clock
        self._limit = limit

    def render(self, **variables: object) -> str:
        """The rendered text; nothing where the template says that it does not apply.

        `variables` are plain values: text, numbers, dates, None, and lists and dictionaries of them.

        :raises TemplateFailure: it failed, took too long, or made too much.
        """
        try:
            rendered = self._template.render({**variables, _BUDGET: Budget(self._clock)})
        except NotApplicable:
            return ""
        except jinja2.UndefinedError as error:
            raise TemplateFailure(f"it uses something that is not there: {error}") from None
        except LimitExceededError as error:
            raise TemplateFailure(str(error)) from None
        except TimeoutError:
            raise TemplateFailure("an expression in it took too long") from None
        except Exception as error:  # an operator's template can raise whatever Python operations raise
            raise TemplateFailure(f"{type(error).__name__}: {error}") from None
        if len(rendered) > self._limit and len(rendered := rendered.strip()) > self._limit:
            raise TemplateFailure(f"it makes {len(rendered)} characters, at most {self._limit} are allowed")
        return rendered


def compile_template(source: str, *, clock: Callable[[], float], limit: int = OUTPUT_LIMIT,
                     surroundings: Surroundings | None = None) -> Template:
    """Compile what an operator wrote. `clock` gives monotonic seconds, `limit` is in characters.

    :raises TemplateFailure: it is no template, or uses what templates here cannot; names line and column.
    """
    environment = _Environment(surroundings or Surroundings())
    try:
        tree = environment.parse(source)
        _check_depth(tree)
        tree = _Rewriter(environment).visit(tree)
        code = environment.compile(tree)
        compiled = jinja2.Template.from_code(environment, code, environment.globals)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFailure(told(error)) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise TemplateFailure("line 1: it is nested too deeply") from None
    except (ValueError, OverflowError, jinja2.TemplateError) as error:
        raise TemplateFailure(f"line 1: {error}") from None
    return Template(compiled, clock, limit)


def _check_depth(tree: nodes.Node) -> None:
    level: list[nodes.Node] = [tree]
    for _ in range(_DEPTH_LIMIT):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise jinja2.TemplateSyntaxError("it is nested too deeply", level[0].lineno)


def _budget(context: Context) -> Budget:
    budget = context.parent[_BUDGET]
    assert isinstance(budget, Budget)  # noqa: S101 - nobody else can set it
    return budget


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or function whose time and result count."""
    @pass_context
    def guarded(context: Context, /, *args: Any, **kwargs: Any) -> Any:
        budget = _budget(context)
        budget.remaining_s()
        return budget.charge(function(budget, *args, **kwargs))
    return guarded


@pass_context
def _guard_value(context: Context, value: Any) -> Any:
    return _budget(context).charge(value)


@pass_context
def _guard_loop(context: Context, iterable: Iterable[Any]) -> Iterator[Any]:
    budget = _budget(context)
    for item in iterable:
        budget.spend(1)
        yield item


@pass_context
def _concat(context: Context, values: list[Any]) -> str:
    parts = [text(value) for value in values]
    _budget(context).spend(sum(map(len, parts)))
    return "".join(parts)


@pass_context
def _output(context: Context, value: Any) -> Any:
    value = _budget(context).charge(value)
    return "" if value is None else value


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, reduced to what aliases and subjects need."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(autoescape=False, optimized=False, cache_size=0, finalize=_output)
        self.filters = {name: _guarded(f) for name, f in filters(surroundings).items()}
        self.known_filters = tuple(sorted(self.filters))
        self.filters.update({_GUARD: _guard_value, _GUARD_LOOP: _guard_loop, _CONCAT: _concat})
        self.tests = {name: test for name, test in self.tests.items() if name in _TESTS}
        self.functions = {name: _guarded(f) for name, f in functions(surroundings).items()}
        self.globals = {**self.functions, "namespace": Namespace}
        self._lexer = PlacingLexer(self)

    @property
    def lexer(self) -> Lexer:
        """One that knows columns."""
        return self._lexer

    def is_safe_attribute(self, obj: Any, attr: str, _value: Any) -> bool:
        """Only what the table names."""
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        return any(isinstance(obj, kind) and attr in names for kind, names in _ATTRIBUTES)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An item of a dictionary goes before its methods."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        """Say at once what is not allowed."""
        raise SecurityError(f"{attribute!r} of a {type(obj).__name__} is not available in templates")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:  # noqa: ARG002 - `format` is not available
        """Formatting methods are refused like every other one that is not named."""
        return None

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operation, with its size known before where it could be large."""
        budget = _budget(context)
        budget.remaining_s()
        if operator == "*":
            _check_product(budget, left, right)
        elif operator == "**":
            _check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            check_printf(left)
            budget.spend(left.count("%") * len(text(right)))
        return budget.charge(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call a function, a macro or one of the few methods that are available."""
        budget = _budget(__context)
        budget.charge([a for a in (*args, *kwargs.values()) if not isinstance(a, Macro)])
        if __obj is Namespace or isinstance(__obj, Macro | jinja2.Undefined) \
                or any(__obj is f for f in __self.functions.values()):
            return super().call(__context, __obj, *args, **kwargs)
        if isinstance(__obj, types.BuiltinMethodType):
            return budget.charge(_call_method(budget, __obj, args, kwargs))
        if isinstance(__obj, types.MethodType) and isinstance(__obj.__self__, LoopContext):
            return __obj(*args)
        raise SecurityError(f"{type(__obj).__name__} cannot be called")


def _call_method(budget: Budget, method: types.BuiltinMethodType, args: tuple[Any, ...],
                 kwargs: dict[str, Any]) -> Any:
    owner, name = method.__self__, method.__name__
    if isinstance(owner, str):
        if name == "replace":
            return replaced(budget, owner, *args, **kwargs)
        if name == "join":
            parts = [text(part) for part in args[0]]
            budget.spend(sum(map(len, parts)) + len(parts) * len(owner))
            return owner.join(parts)
        if name in ("strip", "lstrip", "rstrip", "rsplit") and any(
                isinstance(a, str) and len(a) > SMALL_ARGUMENT for a in (*args, *kwargs.values())):
            raise LimitExceededError(f"the argument of {name} is too long")
    result = method(*args, **kwargs)
    return list(result) if isinstance(owner, dict) and name != "get" else result


def _check_product(budget: Budget, left: Any, right: Any) -> None:
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(times, int):
            budget.charge(many)
            budget.spend(max(0, times) * max(1, len(many)))


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > INTEGER_BITS:
        raise LimitExceededError("a number is too large")


class _Rewriter(NodeTransformer):
    """Sends everything that can grow or repeat through the guards, and refuses what is not available."""

    def __init__(self, environment: _Environment) -> None:
        self._environment = environment

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        """Refuse, or rewrite."""
        if isinstance(node, _REFUSED):
            raise jinja2.TemplateSyntaxError(f"{type(node).__name__.lower()} is not available", node.lineno)
        return super().visit(node, *args, **kwargs)

    def _guard(self, node: nodes.Expr, name: str = _GUARD) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    def _guarded(self, node: nodes.Expr) -> nodes.Filter:
        self.generic_visit(node)  # changes the node in place
        return self._guard(node)

    visit_List = visit_Dict = visit_Compare = _guarded  # noqa: N815

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:
        """Tuples that are assigned to stay as they are."""
        return self._guarded(node) if node.ctx == "load" else node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        """A slice is a copy."""
        self.generic_visit(node)
        return self._guard(node) if isinstance(node.arg, nodes.Slice) else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:
        """`~`"""
        self.generic_visit(node)
        return self._guard(nodes.List(node.nodes, lineno=node.lineno), _CONCAT)

    def visit_For(self, node: nodes.For) -> nodes.For:
        """Loops count."""
        if node.recursive:
            raise jinja2.TemplateSyntaxError("recursive loops are not available", node.lineno)
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, _GUARD_LOOP, [], [], None, None, lineno=node.lineno)
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Const:
        """Text between the tags counts each time it is written."""
        return nodes.Const(node.data, lineno=node.lineno)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Filter:
        """Only the filters that are documented."""
        if node.name not in self._environment.known_filters:
            raise jinja2.TemplateSyntaxError(
                f"there is no filter {node.name!r}; available are {', '.join(self._environment.known_filters)}",
                node.lineno)
        self.generic_visit(node)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Test:
        """Only a few tests."""
        if node.name not in self._environment.tests:
            raise jinja2.TemplateSyntaxError(f"there is no test {node.name!r}", node.lineno)
        self.generic_visit(node)
        return node
