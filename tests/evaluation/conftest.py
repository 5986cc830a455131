import pytest

from bayes_splat.evaluation import methods


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Optimisations stop early: what is tested is not how far down they come."""
    monkeypatch.setattr(methods, "TOLERANCE", 0.05)
