"""The environment of a run: versions of the packages that compute, and peak memory."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

__all__ = ["peak_memory", "versions"]

_PACKAGES = ("numpy", "scipy", "torch", "scikit-image", "transformers", "mrcfile")


def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the packages that compute.

    Examples
    --------
    >>> list(versions())[:3]
    ['cryosam', 'python', 'numpy']
    """
    own = {"cryosam": _version("cryosam-et"), "python": platform.python_version()}
    return own | {name: _version(name) for name in _PACKAGES}


def peak_memory() -> int | None:
    """Largest resident size of this process so far, in bytes; None if the system does not report it.

    Examples
    --------
    >>> (peak_memory() or 1) > 0
    True
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
