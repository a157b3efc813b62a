"""What every test stands on: no network, one thread, nothing of the user's own, and where the shared data lie."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

# Set before anything imports torch, numpy or the model hub, which read these once.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ["HF_HUB_OFFLINE"] = "1"
_home = tempfile.TemporaryDirectory(prefix="cryosam-tests-", ignore_cleanup_errors=True)
os.environ["CRYOSAM_HOME"] = str(Path(_home.name, "home"))
os.environ["CRYOSAM_CACHE"] = str(Path(_home.name, "cache"))

import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("default", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=10_000)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the development data: ``$CRYOSAM_DATA``, else ``shared/data`` beside the repository."""
    given = os.environ.get("CRYOSAM_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"development data not found in {folder}; set CRYOSAM_DATA to their folder")
    return folder


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Shapes and types unchecked, as users run the package, to see its own refusal of wrong ones."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The core, replaced by answers at once; `gate` holds a search until it is set."""
    from quick_core import answer_at_once  # not above: the shape checks must be set up before anything of cryosam

    return answer_at_once(monkeypatch)
