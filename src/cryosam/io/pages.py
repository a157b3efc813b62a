"""HTML pages from the templates of this folder."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["render_page"]


def render_page(template: str, **content: Any) -> str:
    """Fill a template; text is escaped, and a name that the template needs and does not get is an error.

    Parameters
    ----------
    template
        Name of a file in ``cryosam/io/templates``.
    content
        By the names that the template uses.
    """
    environment = Environment(
        loader=PackageLoader("cryosam.io"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)
