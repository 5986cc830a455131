"""The tables of planted faults fit the code; ``make mutants`` plants them."""

import ast

import pytest

from tests.mutants.__main__ import planted
from tests.mutants.table import ROOT, Mutant, all_mutants

MUTANTS = all_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
class TestEveryMutant:
    def test_it_can_be_planted(self, mutant: Mutant) -> None:
        right = (ROOT / mutant.file).read_text("utf-8")
        wrong = planted(right, mutant)
        assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(right))

    def test_its_tests_exist(self, mutant: Mutant) -> None:
        for test in mutant.tests:
            file, _, name = test.partition("::")
            text = (ROOT / file).read_text("utf-8")
            assert all(f" {part.partition('[')[0]}" in text for part in name.split("::") if part)


def test_names_are_different() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_text_that_is_gone_is_an_error() -> None:
    with pytest.raises(ValueError, match="occurs 2 times"):
        planted("a + a", Mutant("a fault", "some.py", "a", "b", ()))
