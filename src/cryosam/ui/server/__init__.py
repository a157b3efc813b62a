"""HTTP interface of a session, for the page that is built from ``page/``."""

from cryosam.ui.server.app import make_app
from cryosam.ui.server.running import serve

__all__ = ["make_app", "serve"]
