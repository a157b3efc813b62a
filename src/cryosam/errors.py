"""Every error that the package raises on purpose.

::

    CryosamError
    |- InputError (ValueError)             what the user gave cannot be used
    |  |- TomogramError                    not a tomogram: truncated, 2D, constant, NaN
    |  |- VoxelSizeError                   missing, invalid or unequal voxel size
    |  |- PromptError                      a point outside the tomogram, or not three numbers
    |  |- PointsFileError                  a points file without usable coordinates
    |  '- QueryError                       a saved query that is damaged, or made with other models
    |- ConfigError (ValueError)            an unknown key or preset, or a value out of range
    |- UnknownBackendError (LookupError)   no such feature extractor or segmenter
    |- InputNotFoundError (FileNotFoundError)
    |- WeightsNotFoundError (FileNotFoundError)
    |- WeightsError (ValueError)           weights that are damaged or do not fit the model
    |- OutputExistsError (FileExistsError)
    |- OutputError (OSError)               no space, or no permission to write
    |- UnknownItemError (LookupError)      no such tomogram, kind, click or candidate in a session
    '- ConflictError (RuntimeError)        a session was changed in the meantime, or is busy

A message says what is wrong, what was given, and what to do about it, in one line.
"""

__all__ = [
    "ConfigError",
    "ConflictError",
    "CryosamError",
    "InputError",
    "InputNotFoundError",
    "OutputError",
    "OutputExistsError",
    "PointsFileError",
    "PromptError",
    "QueryError",
    "TomogramError",
    "UnknownBackendError",
    "UnknownItemError",
    "VoxelSizeError",
    "WeightsError",
    "WeightsNotFoundError",
    "explain",
]

_TORCH_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # torch raises RuntimeError for it


class CryosamError(Exception):
    """Base class of every error that is raised on purpose."""


class InputError(CryosamError, ValueError):
    """What the user gave cannot be used."""


class TomogramError(InputError):
    """The file or array is not a usable tomogram."""


class VoxelSizeError(InputError):
    """The voxel size is missing, invalid, or differs between the axes."""


class PromptError(InputError):
    """A prompt does not lie in the tomogram, or is not three finite numbers."""


class PointsFileError(InputError):
    """A points file holds no usable coordinates."""


class QueryError(InputError):
    """A saved query is damaged, or was made with other models than those of the run."""


class ConfigError(CryosamError, ValueError):
    """A configuration has an unknown key, an unknown preset or a value out of range."""


class UnknownBackendError(CryosamError, LookupError):
    """No feature extractor or segmenter has that name."""


class InputNotFoundError(CryosamError, FileNotFoundError):
    """An input file or folder does not exist."""


class WeightsNotFoundError(CryosamError, FileNotFoundError):
    """Model weights are not on this machine."""


class WeightsError(CryosamError, ValueError):
    """Model weights are damaged, unsafe or do not fit the model."""


class OutputExistsError(CryosamError, FileExistsError):
    """The output exists already and overwriting was not asked for."""


class OutputError(CryosamError, OSError):
    """The output cannot be written."""


class UnknownItemError(CryosamError, LookupError):
    """A session has no such tomogram, kind, click, candidate or slice."""


class ConflictError(CryosamError, RuntimeError):
    """A change is based on an outdated revision of the session, or the session is busy."""


def explain(error: BaseException) -> str | None:
    """Return the one-line message for the user, or None if the error is a bug in the program.

    Examples
    --------
    >>> explain(PromptError("a point is three finite numbers"))
    'a point is three finite numbers'
    >>> explain(KeyError("z")) is None
    True
    """
    if isinstance(error, CryosamError):
        return str(error)
    is_torch = isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _TORCH_OUT_OF_MEMORY)
    if isinstance(error, MemoryError) or is_torch:
        reason = str(error).splitlines()[0] if str(error) else "allocation failed"
        return f"not enough memory ({reason}); bin or crop the tomogram: cryosam info says how much it needs"
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}"
    return None
