"""A grammar before the engine compiles it, in xgrammar's EBNF or in Lark: nesting, size, and whether it ends.

Reads tokens, not the whole of either notation: whatever else may be wrong with a grammar is for the engine.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from service.api.constraints.budget import Budget
from service.api.constraints.patterns import NARROW, UNCOUNTED, WIDE, WRITTEN_OUT
from service.api.constraints.schemas import check_schema
from service.errors import InvalidRequest

MACROS = ("TagDispatch", "TokenTagDispatch", "ExcludeToken", "Token", "Regex", "Substring")
_TEXT = r'"(?:[^"\\\n]|\\.)*"'
_OPTIONS = r"(?:\s*\[[^\]\n]{0,200}\])?"
EBNF = re.compile(
    rf"""(?P<skip>\s+|\#[^\n]*)
    |(?P<rule>[A-Za-z_][\w.-]*){_OPTIONS}\s*::=
    |(?P<macro>{"|".join(MACROS)})\s*\(
    |(?P<text>{_TEXT})|(?P<set>\[\^?(?:[^\]\\]|\\.)*\])|(?P<name>[A-Za-z_][\w.-]*)
    |(?P<count>\{{\s*[0-9]+\s*(?:,\s*[0-9]*\s*)?\}})
    |(?P<open>\()|(?P<close>\))|(?P<bar>\|)|(?P<many>[*+?])|(?P<other>.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
LARK = re.compile(
    rf"""(?P<skip>\s+|\#[^\n]*|//[^\n]*|->\s*[A-Za-z_][\w-]*)
    |(?P<directive>%[a-z_]+)
    |[?!]*(?P<rule>[A-Za-z_][\w-]*)(?:\.[0-9]+)?{_OPTIONS}\s*:
    |(?P<text>{_TEXT})i?|/(?P<regex>(?:[^/\\\n]|\\.)+)/[a-z]*|(?P<set><[^<>\s]*>)|(?P<name>[A-Za-z_][\w-]*)
    |(?P<count>\{{\s*[0-9]*\s*(?:,\s*[0-9]*\s*)?\}}|~\s*[0-9]+(?:\s*\.\.\s*[0-9]+)?)
    |(?P<open>[(\[])|(?P<close>[)\]])|(?P<bar>\|)|(?P<many>[*+?])|(?P<other>.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_BLANKS = re.compile(r"\s*")
DIRECTIVES = ("%import", "%ignore", "%json", "%grammar_options")
RULE = 4
"""States of a rule beside what it says."""
GRAMMAR = 3
"""How much more a state of a grammar costs than one of a pattern, because rules may meet at it."""
OWN = ""
"""Under this name a size has its states; under others, how often it has those of the terminal of that name."""

Size = Counter[str]


@dataclass(slots=True)
class _Element:
    """A part of an alternative: a rule by its name, or a text, which has none."""

    name: str | None
    empty: bool
    """Whether it may be left out, or is a text that may be empty."""


_Alternative = list[_Element]
Rules = dict[str, list[_Alternative]]


@dataclass(slots=True)
class _Group:
    """A rule, or what lies between brackets."""

    name: str
    alternatives: list[_Alternative] = field(default_factory=lambda: [[]])
    size: Size = field(default_factory=Counter)
    last: Size = field(default_factory=Counter)
    """Size of the last element, which a quantifier repeats."""
    optional: bool = False
    """`[…]` in Lark."""

    def add(self, size: Size, name: str | None = None, *, empty: bool = False) -> None:
        self.size += size
        self.last = size
        self.alternatives[-1].append(_Element(name, empty))

    def repeat(self, low: int, high: int) -> None:
        times = min(max(low, high, 1), WRITTEN_OUT)
        self.size += _times(self.last, times - 1)
        self.last = _times(self.last, times)
        if low == 0 and self.alternatives[-1]:
            self.alternatives[-1][-1].empty = True

    def end_alternative(self) -> None:
        self.alternatives.append([])
        self.last = Counter()


def check_grammar(grammar: str, path: str, budget: Budget) -> None:
    """Takes what `grammar` costs from `budget`. Raises InvalidRequest."""
    if not grammar.strip():
        raise InvalidRequest(f"{path} is empty.", param=path)
    lark = is_lark(grammar)
    start = "start" if lark else "root"
    rules = _Reader(grammar, path, budget, LARK if lark else EBNF).read()
    if start not in rules:
        raise InvalidRequest(f"{path} has no rule {start!r}, with which a grammar begins.", param=path)
    names = (element.name for each in rules.values() for one in each for element in one)
    missing = (name for name in names if name is not None and name not in rules)
    if not lark and (name := next(missing, None)):  # Lark imports names, and has some of its own
        raise InvalidRequest(f"{path}: the rule {name!r} is not defined.", param=path)
    if (name := _endless(rules)) is not None:
        raise InvalidRequest(
            f"{path}: the rule {name!r} never ends, because each of its alternatives leads back to itself.",
            param=path,
        )
    if (name := _left_recursive(rules)) is not None:
        raise InvalidRequest(
            f"{path}: the rule {name!r} can begin with itself, which is not accepted; a repetition says the same.",
            param=path,
        )


def is_lark(grammar: str) -> bool:
    """As vLLM tells the two apart: only EBNF has `::=`, comments of either kind left out."""
    return not any("::=" in re.sub(r"(#|//).*$", "", line) for line in grammar.split("\n"))


class _Reader:
    """One grammar; `read` may be called once."""

    def __init__(self, grammar: str, path: str, budget: Budget, syntax: re.Pattern[str]) -> None:
        self._grammar = grammar
        self._path = path
        self._budget = budget
        self._syntax = syntax
        self._rules: Rules = {}
        self._sizes: dict[str, Size] = {}
        self._groups: list[_Group] = []
        """The rule that is being read, and the brackets that are open in it."""

    def read(self) -> Rules:
        """All rules, pairs of brackets as rules of their own."""
        for token in self._tokens():
            kind = str(token.lastgroup)
            if kind == "rule":
                self._end_rule()
                self._groups = [_Group(token["rule"])]
            elif self._groups:
                self._element(kind, token)
        self._end_rule()
        self._take()
        return self._rules

    def _tokens(self) -> Iterator[re.Match[str]]:
        position = 0
        while token := self._syntax.match(self._grammar, position):
            position = token.end()
            if token.lastgroup == "directive":
                position = self._directive(token[0], position)
            elif token.lastgroup == "other" and (token[0] == '"' or (token[0], self._syntax) == ("[", EBNF)):
                raise self._wrong(f"what begins at character {token.start() + 1} is not closed")
            elif token.lastgroup != "skip":
                yield token

    def _element(self, kind: str, token: re.Match[str]) -> None:
        group = self._groups[-1]
        match kind:
            case "text":
                if group.name == "Regex":
                    self._regex(_unquoted(token["text"]))
                else:
                    group.add(_states(len(token["text"]) - 2), empty=token["text"] == '""')
            case "regex":
                self._regex(token["regex"])
            case "set":
                wide = token[0].startswith(("[^", "<"))
                group.add(_states((WIDE if wide else NARROW) + len(token[0]) // 8))
            case "name":
                name = token["name"]
                terminal = self._syntax is LARK and name.lstrip("_")[:1].isupper()
                group.add(Counter({name: 1, OWN: 1}) if terminal else _states(1), name)
            case "macro" | "open":
                self._open(token)
            case "close":
                self._close()
            case "bar":
                group.end_alternative()
            case "many":
                group.repeat(int(token[0] == "+"), 1)
            case "count":
                low, high = _counts(token[0])
                self._budget.count(max(low, high), self._path)
                group.repeat(low, high)

    def _open(self, token: re.Match[str]) -> None:
        macro = token.groupdict().get("macro")
        self._groups.append(_Group(macro or f"({token.start()}", optional=token[0] == "["))
        self._budget.groups(len(self._groups) - 1, self._path)

    def _close(self) -> None:
        if len(self._groups) == 1:
            raise self._wrong(f"in the rule {self._groups[0].name!r} a bracket closes that was not opened")
        inner = self._groups.pop()
        outer = self._groups[-1]
        if inner.name in MACROS:  # what is named in a macro comes behind texts of its own
            outer.add(inner.size, empty=True)
            return
        self._rules[inner.name] = inner.alternatives
        outer.add(inner.size, inner.name)
        if inner.optional:
            outer.repeat(0, 1)

    def _regex(self, pattern: str) -> None:
        states = self._budget.pattern_states(pattern, self._path)
        self._groups[-1].add(_states(states), empty=_may_be_empty(pattern))

    def _directive(self, name: str, position: int) -> int:
        """Returns where what belongs to the directive ends."""
        if name not in DIRECTIVES:
            raise self._wrong(f"{name} is not accepted; {', '.join(DIRECTIVES)} are")
        if name == "%import":
            end = self._grammar.find("\n", position)
            return len(self._grammar) if end < 0 else end
        if name == "%ignore":
            self._end_rule()
            self._groups = [_Group(f"{name}{position}")]
            return position
        position = _BLANKS.match(self._grammar, position).end()  # type: ignore[union-attr]
        try:
            value, end = json.JSONDecoder().raw_decode(self._grammar, position)
        except (ValueError, RecursionError):
            raise self._wrong(f"{name} should be followed by a JSON object") from None
        if name == "%json":
            check_schema(value, self._path, self._budget)
            if self._groups:
                self._groups[-1].add(_states(1))
        return end

    def _end_rule(self) -> None:
        if len(self._groups) > 1:
            raise self._wrong(f"in the rule {self._groups[0].name!r} a bracket is not closed")
        for rule in self._groups:
            self._rules.setdefault(rule.name, []).extend(rule.alternatives)
            self._sizes.setdefault(rule.name, Counter()).update(rule.size)

    def _take(self) -> None:
        """Terminals are written out wherever they are named; rules are not."""
        whole: dict[str, int] = {}
        try:
            order = tuple(
                TopologicalSorter({name: set(size) for name, size in self._sizes.items()}).static_order()
            )
        except CycleError as error:
            raise self._wrong(f"the terminal {error.args[1][0]!r} refers to itself") from None
        for name in order:
            size = self._sizes.get(name, Counter())
            states = sum(times * (1 if part == OWN else whole.get(part, 0)) for part, times in size.items())
            whole[name] = min(states, UNCOUNTED)
            if name in self._sizes:
                self._budget.take(RULE + GRAMMAR * whole[name], self._path)

    def _wrong(self, problem: str) -> InvalidRequest:
        return InvalidRequest(f"{self._path} is not a grammar: {problem}.", param=self._path)


def _states(states: int) -> Size:
    return Counter({OWN: states})


def _times(size: Size, times: int) -> Size:
    return Counter({part: min(number * times, UNCOUNTED) for part, number in size.items()})


def _counts(text: str) -> tuple[int, int]:
    """`{2,4}`, `{2,}`, `{,4}`, `{3}`, `~2..4`, `~3`."""
    low, *more = re.split(r",|\.\.", text.strip("{}~ \t\n"))
    # a longer number is too large by any measure, and may be too long for int()
    numbers = [int(digits.strip()[:9] or "0") for digits in (low, *more)]
    return numbers[0], max(numbers)


def _unquoted(text: str) -> str:
    """The text that a literal means; what JSON does not know stays as it is."""
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]


def _may_be_empty(pattern: str) -> bool:
    try:
        return re.compile(pattern).fullmatch("") is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _endless(rules: Rules) -> str | None:
    """A rule from which no text without rules can be reached. Names that are not defined are taken for texts."""
    needs: dict[tuple[str, int], set[str | None]] = {
        (name, index): {element.name for element in one if element.name in rules and not element.empty}
        for name, alternatives in rules.items()
        for index, one in enumerate(alternatives)
    }
    return _named(rules.keys() - _reached(needs))


def _left_recursive(rules: Rules) -> str | None:
    """A rule that can be the first in what it stands for. The engine's parser may take minutes for a token of such."""
    emptiable = _reached(
        {
            (name, index): {element.name for element in one if not element.empty}
            for name, alternatives in rules.items()
            for index, one in enumerate(alternatives)
        }
    )
    begins: dict[str, set[str]] = {name: set() for name in rules}
    for name, alternatives in rules.items():
        for one in alternatives:
            for element in one:
                if element.name in rules:
                    begins[name].add(str(element.name))
                if not element.empty and element.name not in emptiable:
                    break
    try:
        TopologicalSorter(begins).prepare()
    except CycleError as error:
        return _named(error.args[1])
    return None


def _reached(usable: dict[tuple[str, int], set[str | None]]) -> set[str]:
    """The rules of which an alternative needs nothing but such rules; None is what none of them gives."""
    used_by: dict[str | None, list[tuple[str, int]]] = {}
    for alternative, needs in usable.items():
        for need in needs:
            used_by.setdefault(need, []).append(alternative)
    reached: set[str] = set()
    ready = [name for (name, _), needs in usable.items() if not needs]
    while ready:
        name = ready.pop()
        if name not in reached:
            reached.add(name)
            for alternative in used_by.get(name, ()):
                usable[alternative].discard(name)
                if not usable[alternative]:
                    ready.append(alternative[0])
    return reached


def _named(names: Iterable[str]) -> str | None:
    """One of the names, rather a rule's than a pair of brackets'."""
    return min(names, key=lambda name: (name.startswith("("), name), default=None)
