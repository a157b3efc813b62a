"""The known models, where their weights are stored, and how to download or import them.

Nothing is downloaded unless `fetch` is called. Weights are searched for in this order:

1. the name as a path: a folder in the format of `transformers` (``config.json`` and ``*.safetensors``), or an original
   SAM checkpoint;
2. models that `import_checkpoint` wrote below `cache_folder`;
3. the cache of the Hugging Face hub.
"""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryosam.errors import OutputError, OutputExistsError, UnknownBackendError, WeightsError, WeightsNotFoundError

__all__ = ["MODELS", "ModelInfo", "cache_folder", "fetch", "import_checkpoint", "list_models", "locate"]

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class ModelInfo:
    """A model that can be selected by name.

    Parameters
    ----------
    name
        The name to give to ``--features`` or ``--segmenter``.
    kind
        Whether it extracts features or segments.
    family
        The architecture.
    hub_id
        Its repository on the Hugging Face hub; empty if it has none.
    licence
        Licence of the weights; empty if there are none, or if they are the user's or part of the package.
    size_mb
        Size of the download in megabytes; 0 if there is none.
    """

    name: str
    kind: Literal["features", "segmenter"]
    family: str
    hub_id: str = ""
    licence: str = ""
    size_mb: int = 0

    @property
    def is_available(self) -> bool:
        """Whether it can be used without a download."""
        if self.family in ("invariants", "classical", "embedded"):
            return True
        try:
            locate(self.name)
        except WeightsNotFoundError:
            return False
        return True


MODELS: tuple[ModelInfo, ...] = (
    ModelInfo("invariants", "features", "invariants"),
    ModelInfo("dinov2-small", "features", "dinov2", "facebook/dinov2-small", "Apache-2.0", 88),
    ModelInfo("dinov2-base", "features", "dinov2", "facebook/dinov2-base", "Apache-2.0", 346),
    ModelInfo("dinov2-large", "features", "dinov2", "facebook/dinov2-large", "Apache-2.0", 1218),
    ModelInfo("dinov2-small-registers", "features", "dinov2", "facebook/dinov2-with-registers-small", "Apache-2.0", 88),
    ModelInfo("dinov2-base-registers", "features", "dinov2", "facebook/dinov2-with-registers-base", "Apache-2.0", 346),
    ModelInfo(
        "dinov2-large-registers", "features", "dinov2", "facebook/dinov2-with-registers-large", "Apache-2.0", 1218
    ),
    ModelInfo("dinov3-small", "features", "dinov3", "facebook/dinov3-vits16-pretrain-lvd1689m", "DINOv3 (gated)", 86),
    ModelInfo("dinov3-base", "features", "dinov3", "facebook/dinov3-vitb16-pretrain-lvd1689m", "DINOv3 (gated)", 343),
    ModelInfo("dinov3-large", "features", "dinov3", "facebook/dinov3-vitl16-pretrain-lvd1689m", "DINOv3 (gated)", 1213),
    ModelInfo("classical", "segmenter", "classical"),
    ModelInfo("embedded", "segmenter", "embedded"),
    ModelInfo("sam-vit-b", "segmenter", "sam", "facebook/sam-vit-base", "Apache-2.0", 375),
    ModelInfo("sam-vit-l", "segmenter", "sam", "facebook/sam-vit-large", "Apache-2.0", 1249),
    ModelInfo("sam-vit-h", "segmenter", "sam", "facebook/sam-vit-huge", "Apache-2.0", 2564),
    ModelInfo("sam-hq-vit-b", "segmenter", "sam_hq", "syscv-community/sam-hq-vit-base", "Apache-2.0", 379),
    ModelInfo("sam-hq-vit-h", "segmenter", "sam_hq", "syscv-community/sam-hq-vit-huge", "Apache-2.0", 2570),
    ModelInfo("sam2.1-tiny", "segmenter", "sam2", "facebook/sam2.1-hiera-tiny", "Apache-2.0", 156),
    ModelInfo("sam2.1-small", "segmenter", "sam2", "facebook/sam2.1-hiera-small", "Apache-2.0", 184),
    ModelInfo("sam2.1-base-plus", "segmenter", "sam2", "facebook/sam2.1-hiera-base-plus", "Apache-2.0", 323),
    ModelInfo("sam2.1-large", "segmenter", "sam2", "facebook/sam2.1-hiera-large", "Apache-2.0", 898),
)
"""The models with a name; the path of any other folder or file, or a repository, can be given instead of a name."""


def cache_folder() -> Path:
    """Folder of imported models: the environment variable ``CRYOSAM_HOME``, or ``~/.cache/cryosam``.

    Examples
    --------
    >>> cache_folder().is_absolute()
    True
    """
    return Path(os.environ.get("CRYOSAM_HOME") or Path.home() / ".cache" / "cryosam").absolute()


def list_models() -> tuple[ModelInfo, ...]:
    """The models of `MODELS`, then those that the user imported with other names.

    Examples
    --------
    >>> [model.name for model in list_models() if model.is_available][0]
    'invariants'
    """
    named = {model.name for model in MODELS}
    folders = sorted(path for path in _imported_folder("").glob("*") if _is_model(path) and path.name not in named)
    return (*MODELS, *(ModelInfo(folder.name, "segmenter", "sam") for folder in folders))


def locate(name: str | Path) -> Path:
    """Find the weights of a model on this machine.

    Parameters
    ----------
    name
        A model's name, a folder or file, or a repository of the hub (``owner/model``).

    Returns
    -------
    path
        A folder in the format of `transformers`, or an original SAM checkpoint.

    Raises
    ------
    UnknownBackendError
        If ``name`` is neither a model's name nor a path nor a repository.
    WeightsNotFoundError
        If the weights are not on this machine.

    Examples
    --------
    >>> locate("sam-vit-x")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    cryosam.errors.UnknownBackendError: no model 'sam-vit-x'; ...
    """
    path, key = Path(name).expanduser(), str(name)
    if _is_model(path) or (path.suffix in CHECKPOINT_SUFFIXES and path.is_file()):
        return path
    if path.exists() or path.is_absolute() or path.suffix in CHECKPOINT_SUFFIXES or key.startswith((".", "~")):
        raise WeightsNotFoundError(
            f"no model at {path}; give a folder with config.json and *.safetensors, or a SAM checkpoint (.pth)"
        )
    if "/" not in key and _is_model(_imported_folder(key)):
        return _imported_folder(key)
    folder = _hub_folder(_hub_id(key))
    if not _is_model(folder):
        raise WeightsNotFoundError(
            f"the weights of {key!r} are not on this machine; run `cryosam models fetch {key}`, or use the default "
            "preset (--preset embedded), which needs no download"
        )
    return folder


def fetch(name: str) -> Path:
    """Download the weights of a model from the Hugging Face hub; the hub's client shows the progress.

    Parameters
    ----------
    name
        A model's name, or a repository of the hub (``owner/model``).

    Returns
    -------
    folder
        Folder of the weights; from now on `locate` finds it.

    Raises
    ------
    UnknownBackendError
        If there is no such model.
    WeightsNotFoundError
        If the weights cannot be downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    hub_id = _hub_id(name)
    page = f"https://huggingface.co/{hub_id}"
    by_hand = f"download the files of {page} in another way and give the path of their folder instead of the name"
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=["config.json", "*.safetensors", "*.safetensors.*"]))
    except GatedRepoError as error:
        raise WeightsNotFoundError(
            f"{name!r} requires that you accept its licence: do so at {page}, run `hf auth login`, then fetch again"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsNotFoundError(f"cannot download {name!r} ({reason}); {by_hand}") from error
    except OSError as error:
        raise OutputError(f"cannot store the weights of {name!r}: {error}") from error
    if not _is_model(folder):
        raise WeightsNotFoundError(f"{page} has no config.json with *.safetensors; give another repository")
    return folder


def import_checkpoint(path: str | Path, name: str | None = None) -> Path:
    """Convert an original SAM checkpoint once, so that it can be used by name.

    Parameters
    ----------
    path
        A ``.pth`` file from Meta, an export of micro-sam, or another file that
        `cryosam.backends.conversion.read_sam_checkpoint` can read.
    name
        Name of the model; None takes the published name for a published file, and otherwise the name of the file.

    Returns
    -------
    folder
        Below `cache_folder`, in the format of `transformers`. It is created complete or not at all.

    Raises
    ------
    WeightsNotFoundError, WeightsError
        From `cryosam.backends.conversion.read_sam_checkpoint`.
    OutputExistsError
        If the name is already in use.
    OutputError
        If the folder cannot be written.
    """
    from cryosam.backends.conversion import PUBLISHED_FILES, read_sam_checkpoint
    from cryosam.backends.loading import write_model

    path = Path(path).expanduser()
    if name is None:
        name = PUBLISHED_FILES.get(path.name, path.stem)
    _require_importable(name)
    model = read_sam_checkpoint(path)
    final = _imported_folder(name)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".importing-") as folder:
            complete = Path(folder) / "model"
            write_model(model, complete)
            complete.rename(final)
    except OSError as error:
        raise OutputError(f"cannot write {final}: {error}") from error
    return final


def _require_importable(name: str) -> None:
    """Refuse a name that cannot be a folder, belongs to another type of model, or is already in use."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise WeightsError(
            f"a model's name may contain only letters, digits, '.', '_' and '-', got {name!r}; give another name"
        )
    if any(model.name == name and model.family != "sam" for model in MODELS):
        raise WeightsError(f"{name!r} is the name of another type of model; give another name")
    if _imported_folder(name).exists():
        raise OutputExistsError(
            f"a model named {name!r} already exists at {_imported_folder(name)}; remove it or give another name"
        )


def _imported_folder(name: str) -> Path:
    return cache_folder() / "models" / name


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _hub_id(name: str) -> str:
    """Repository of a model."""
    for model in MODELS:
        if model.name == name and model.hub_id:
            return model.hub_id
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return name
    known = [model.name for model in list_models()]
    if name in known:
        raise UnknownBackendError(f"{name!r} has no weights to download; it can be used without")
    names = ", ".join(known)
    raise UnknownBackendError(f"no model {name!r}; give one of {names}, or the path of a folder or .pth file")


def _hub_folder(hub_id: str) -> Path:
    """Snapshot of a repository in the hub's cache, or the folder where its snapshots would be."""
    from huggingface_hub import constants, try_to_load_from_cache

    config = try_to_load_from_cache(hub_id, "config.json")
    if isinstance(config, str):
        return Path(config).parent
    return Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
