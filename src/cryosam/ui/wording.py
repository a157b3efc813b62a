"""Warnings in the words of a window: without options of the command line."""

import re

from cryosam.run_report import RunWarning

__all__ = ["on_page", "without_options"]

_ON_PAGE = {
    "contrast_uncertain": "it is not certain whether protein is dark or bright in this tomogram: check the masks",
    "not_searched": "nothing was searched for, because no particle is visible at the clicks: click on a particle",
    "none_found": "no particle of this kind was found: click another one, or move the slider to the left",
}


def on_page(warning: RunWarning) -> str:
    """Return a warning as one sentence.

    Examples
    --------
    >>> on_page(RunWarning("contrast_uncertain", "protein looks dark; if it is wrong, set it with --contrast"))
    'it is not certain whether protein is dark or bright in this tomogram: check the masks'
    """
    if warning.code == "nothing_there":
        return f"{warning}, so a search may find nothing: click the middle of a particle"
    return _ON_PAGE.get(warning.code, str(warning))


def without_options(text: str) -> str:
    """Return an error of a search with the switch of the page in the place of an option of the command line.

    Examples
    --------
    >>> without_options("click in a vesicle, or on a membrane with --structure membrane")
    'click in a vesicle, or on a membrane and choose Membrane'
    """
    return re.sub(r"with --structure (\w+)", lambda found: f"and choose {found[1].capitalize()}", text)
