"""``python -m cryosam`` is ``cryosam``."""

from cryosam.cli import main

main(prog_name="cryosam")
