"""Reading and writing models of `transformers`; incomplete models are refused, and nothing is printed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryosam.errors import WeightsError

__all__ = ["read_model", "write_model"]


def read_model(folder: Path, class_name: str) -> Any:
    """Read a model with all its weights.

    Parameters
    ----------
    folder
        Contains ``config.json`` and ``*.safetensors``; pickled weights are not read.
    class_name
        Name of the class in `transformers`.

    Raises
    ------
    WeightsError
        If the files are damaged, or weights of the model are missing.
    """
    import transformers
    from safetensors import SafetensorError

    with _quiet(transformers):
        try:
            model, report = getattr(transformers, class_name).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(f"the model in {folder} is damaged ({reason}); fetch or import it again") from error
    # transformers fills missing weights with random numbers
    absent = sorted(str(key) for key in (*report["missing_keys"], *report["mismatched_keys"]))
    if absent:
        raise WeightsError(
            f"the model in {folder} lacks {len(absent)} weights of a {class_name}, the first is {absent[0]}; "
            "fetch or import it again"
        )
    return model


def write_model(model: Any, folder: Path) -> None:
    """Write a model of `transformers` so that `read_model` can read it.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    import transformers

    with _quiet(transformers):
        model.save_pretrained(folder)


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Turn off the progress bar and the log messages of `transformers`; missing weights are raised as an error."""
    logging = transformers.utils.logging
    verbosity, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bar:
            logging.enable_progress_bar()
