"""The exception tree."""

import builtins
import inspect

import pytest

from cryosam import errors

CLASSES = [value for value in map(errors.__dict__.get, errors.__all__) if inspect.isclass(value)]


@pytest.mark.parametrize("error", CLASSES)
def test_one_except_clause_catches_all(error: type[Exception]) -> None:
    with pytest.raises(errors.CryosamError, match="what happened"):
        raise error("what happened")


@pytest.mark.parametrize("error", [e for e in CLASSES if e is not errors.CryosamError])
def test_each_is_also_the_builtin_a_caller_expects(error: type[Exception]) -> None:
    builtin = {c for c in error.__mro__ if c.__module__ == "builtins"} - {Exception, BaseException, object}
    assert builtin
    assert all(getattr(builtins, c.__name__) is c for c in builtin)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.TomogramError, ValueError),
        (errors.PromptError, ValueError),
        (errors.ConfigError, ValueError),
        (errors.UnknownBackendError, LookupError),
        (errors.InputNotFoundError, FileNotFoundError),
        (errors.WeightsNotFoundError, FileNotFoundError),
        (errors.OutputExistsError, FileExistsError),
        (errors.OutputError, OSError),
    ],
)
def test_builtin_bases(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, builtin)


def test_message_survives_builtins_with_odd_constructors() -> None:
    """OSError and KeyError change how a message is shown; a command prints ``str(error)``."""
    for error in CLASSES:
        assert str(error("no such file: a.mrc")) == "no such file: a.mrc"


def test_every_class_is_listed_and_drawn() -> None:
    defined = {n for n, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__}
    assert defined == {each.__name__ for each in CLASSES}
    assert errors.__doc__ is not None
    for name in defined:
        assert name in errors.__doc__
