"""Grammars of both notations: size, nesting, and an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.constraints.budget import Budget, ConstraintLimits
from service.api.constraints.grammars import check_grammar, is_lark
from service.errors import InvalidRequest


def check(grammar: str, **limits: int) -> None:
    check_grammar(grammar, "g", Budget(ConstraintLimits(**limits)))


def refused(grammar: str) -> str:
    with pytest.raises(InvalidRequest) as error:
        check(grammar)
    assert error.value.param is not None and error.value.param.startswith("g")
    return error.value.message


GOOD = [
    'root ::= "yes" | "no"',
    'root ::= expr ("=" expr)*\nexpr ::= term ([-+*/] term)*\nterm ::= num | "(" expr ")"\nnum ::= [0-9]+',
    'root ::= a? "x"\na ::= "a" | "a" a',
    'root ::= a{0,3} "x"\na ::= "(" a{0,9} ")"',
    'root ::= ("x" root | "b")',
    'root ::= a* "x" root | "y"\na ::= "a"+',
    'root ::= Regex("(a|b)\\\\d{2,3}") TagDispatch(("<t>", root), excludes=("x",))',
    'root[capture="x", max_tokens=3] ::= "]" [\\]"] # a "comment\n',
    "root ::= ( )",
    'root ::= "say \\"hi\\" ::= :" | [^]',
    'start: "a"+',
    '?start: item ("," item)* -> list\nitem.2: "id=" INT [tail]\ntail: /[a-z\\/"]+/i\n%import common.INT',
    'start: "x"i | "a".."z"\n%ignore " "',
    'start: %json {"type": "object", "properties": {"a": {"type": "string"}}}\n',
    "    %import common.WS\n    %ignore WS\n    start: A ~ 2..4 // a comment\n    A: B{2,} B{,3}\n    B: /b#/",
    'start: "x" start | <|tool|>',
]


@pytest.mark.parametrize("grammar", GOOD)
def test_ordinary_grammars_pass(grammar: str) -> None:
    check(grammar)


@pytest.mark.parametrize(
    "grammar, words",
    [
        (" \n", "is empty"),
        ('roof ::= "a"', "no rule 'root'"),
        ('begin: "a"', "no rule 'start'"),
        ("root ::= nope", "the rule 'nope' is not defined"),
        ("root ::= root", "the rule 'root' never ends"),
        ("root ::= a\na ::= b\nb ::= a | (b)+", "never ends"),
        ('root ::= root "a"', "never ends"),
        ('root ::= "x"\na ::= (a){1,300}', "the rule 'a' never ends"),
        ('root ::= "x" | root', "the rule 'root' can begin with itself"),
        ('root ::= "x" | (root){1,300}', "can begin with itself"),
        ("root ::= ([a] | root | [b]*)*", "can begin with itself"),
        ('root ::= a root b | "x"\na ::= "a"*\nb ::= ""', "can begin with itself"),
        ('root ::= Regex("a*") root | "x"', "can begin with itself"),
        ('root ::= root "a" | "a"', "the rule 'root' can begin with itself"),
        ('root ::= (root "bc" | "a")*', "can begin with itself"),
        ('root ::= a "x"\na ::= "b"? c\nc ::= a | "d"', "can begin with itself"),
        ("start: [start] | /x/", "can begin with itself"),
        ("start: start", "the rule 'start' never ends"),
        ('root ::= ("a"', "a bracket is not closed"),
        ('root ::= "a")', "closes that was not opened"),
        ('root ::= "a', "what begins at character 10 is not closed"),
        ("root ::= [a", "what begins at character 10 is not closed"),
        ("root ::= " + "(" * 65 + '"a"' + ")" * 65, "more than 64 groups"),
        ("start: " + "[" * 65 + '"a"' + "]" * 65, "more than 64 groups"),
        ('root ::= (("a"{1,999}){1,999})', "states"),
        ('start: ("a" ~ 1..999) ~ 999', "states"),
        ('root ::= "a"{1,99999999999999}', "repetitions are too many"),
        ('root ::= Regex("((a{1,999}){1,999})")', "states"),
        ('root ::= Regex("((")', "not a regular expression"),
        ("start: /((a{1,999}){1,999})/", "states"),
        ("start: /" + "(" * 65 + "a" + ")" * 65 + "/", "more than 64 groups"),
        ("\n".join(["start: R0", *(f"R{n}: R{n + 1} R{n + 1}" for n in range(20)), 'R20: "b"']), "states"),
        ('start: A\nA: "a" A', "the terminal 'A' refers to itself"),
        ('start: %json {"type": "string", "pattern": "(("}', "g.pattern is not a regular expression"),
        ("start: %json {", "followed by a JSON object"),
        ("start: %json " + "[" * 100_000, "followed by a JSON object"),
        ('start: %lark { start: "a" }', "%lark is not accepted"),
        ("root ::= " + " | ".join(f'"value {n}"' for n in range(5000)), "states"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused(grammar: str, words: str) -> None:
    assert words in refused(grammar)


@pytest.mark.parametrize("part", ["[", '"', "a[", "(", "/a", "{9", "a ", "%json "])
@pytest.mark.parametrize("head", ["root ::= ", "start: "])
def test_long_nonsense_takes_linear_work(head: str, part: str) -> None:
    with pytest.raises(InvalidRequest):
        check(head + part * 50_000 + "(")


def test_which_notation() -> None:
    assert is_lark("start: x") and is_lark("start: x // ::=") and not is_lark("# x\nroot ::= y")


pieces = [
    "root",
    "start",
    "::=",
    ":",
    "a",
    "B",
    '"x"',
    "[ab]",
    "(",
    ")",
    "|",
    "*",
    "?",
    "{2,3}",
    "~3",
    "\n",
    " ",
    "/x/",
    "%",
]


@given(st.sampled_from(["root ::= ", "start: "]), st.lists(st.sampled_from(pieces), max_size=25).map("".join))
def test_any_text_is_measured_or_refused(head: str, text: str) -> None:
    try:
        check(head + text)
    except InvalidRequest as error:
        assert error.param == "g"
