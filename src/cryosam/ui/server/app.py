"""HTTP requests to a session, one short function each; all logic is in `cryosam.ui.session`."""

import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from cryosam.arrays import Plane
from cryosam.errors import ConflictError, CryosamError, UnknownItemError
from cryosam.ui.description import describe_candidates, describe_grey
from cryosam.ui.exchange import import_points, write_all, write_tables
from cryosam.ui.server import bodies, events, images
from cryosam.ui.server.guard import Guard
from cryosam.ui.session import Session
from cryosam.ui.shapes import outlines

__all__ = ["make_app"]

STATIC = Path(__file__).parent / "static"

_MOST_UPLOADED = 64 * 2**20  # bytes of a points file
_BINARY = "application/octet-stream"

Slab = Annotated[int, Query(ge=1, le=101)]
Voxel = Annotated[float, Query(allow_inf_nan=False)]
Smooth = Annotated[float, Query(ge=0, le=4)]


def make_app(
    session: Session, *, token: str, hosts: Collection[str], command: str = "", static: Path = STATIC
) -> Guard:
    """Create the application of the server.

    Parameters
    ----------
    session
        The session that is shown.
    token
        Token that every request must have.
    hosts
        Host names with port that requests may use.
    command
        Command line that started the server, for ``run.json``.
    static
        Folder of the built page.
    """
    app = FastAPI(title="CryoSAM", docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app)
    _add_looking(app, session)
    _add_pictures(app, session)
    _add_clicking(app, session)
    _add_jobs(app, session)
    _add_judging(app, session)
    _add_exchange(app, session, command)
    if (static / "index.html").is_file():
        app.mount("/", StaticFiles(directory=static, html=True))
    else:
        app.add_api_route("/", _no_page, methods=["GET"])
    return Guard(app, token=token, hosts=hosts)


def _add_looking(app: FastAPI, session: Session) -> None:
    @app.get("/api/session")
    def describe() -> dict[str, Any]:
        return session.describe()

    @app.get("/api/events")
    async def tell() -> StreamingResponse:
        return StreamingResponse(events.stream(session), media_type="text/event-stream")

    @app.get("/api/tomograms/{t}/grey")
    def grey(t: int) -> dict[str, Any]:
        return describe_grey(session.tomograms[t].grey)

    @app.get("/api/tomograms/{t}/slice/{plane}/{index}")
    def pixels(t: int, plane: Plane, index: int, slab: Slab = 1, smooth: Smooth = 0.0) -> Response:
        image = session.tomograms.pixels(t, plane, index, slab=slab, smooth=smooth)
        shape = {"X-Shape": f"{image.shape[0]},{image.shape[1]}"}
        return Response(image.tobytes(), media_type=_BINARY, headers=shape)

    @app.get("/api/tomograms/{t}/outlines/{plane}/{index}")
    def drawn(t: int, plane: Plane, index: int) -> dict[str, Any]:
        state, revision = session.state, session.revision
        found = outlines(state, session.number(t), plane, index)
        return {"revision": revision, "outlines": [outline._asdict() for outline in found]}

    @app.get("/api/tomograms/{t}/candidates")
    def candidates(t: int) -> dict[str, Any]:
        revision = session.revision
        return {"revision": revision, "kinds": describe_candidates(session.state, session.number(t))}


def _add_pictures(app: FastAPI, session: Session) -> None:
    @app.get("/api/tomograms/{t}/thumbnail/{kind}")
    def thumbnail(t: int, kind: int, z: Voxel, y: Voxel, x: Voxel) -> Response:
        diameter = images.diameter_of(session, session.number(t), kind)
        picture = images.encode_thumbnail(session.tomograms, t, (z, y, x), diameter)
        return Response(picture, media_type="image/png")

    @app.get("/api/tomograms/{t}/average/{kind}")
    def average(t: int, kind: int) -> Response:
        average = session.state.view(session.number(t), kind).average
        if average is None:
            raise UnknownItemError("this kind has no average: find at least ten particles")
        return Response(images.encode_average(average), media_type="image/png")

    @app.get("/api/tomograms/{t}/meshes/{kind}")
    def meshes(t: int, kind: int, min_score: float = 0.0) -> Response:
        found = session.state.view(session.number(t), kind).candidates
        shown = [(c.id, c.instance or c.mask) for c in found if c.is_shown(min_score) and c.mask.n_voxels]
        return Response(images.encode_meshes(shown), media_type=_BINARY)


def _add_clicking(app: FastAPI, session: Session) -> None:
    @app.post("/api/kinds")
    def add_kind(body: bodies.NewKind) -> dict[str, int]:
        return _changed(session, kind=session.add_kind(body.name, body.colour))

    @app.patch("/api/kinds/{kind}")
    def change_kind(kind: int, body: bodies.KindChange) -> dict[str, int]:
        expected = body.expected_revision
        session.change_kind(kind, name=body.name, colour=body.colour, structure=body.structure, expected=expected)
        return _changed(session)

    @app.delete("/api/kinds/{kind}")
    def remove_kind(kind: int, expected_revision: int | None = None) -> dict[str, int]:
        session.remove_kind(kind, expected=expected_revision)
        return _changed(session)

    @app.post("/api/tomograms/{t}/clicks")
    def add_click(t: int, body: bodies.NewClick) -> dict[str, int]:
        return _changed(session, click=session.add_click(t, body.kind, body.point, is_positive=body.positive))

    @app.delete("/api/tomograms/{t}/clicks/{click}")
    def remove_click(t: int, click: int, expected_revision: int | None = None) -> dict[str, int]:
        session.remove_click(t, click, expected=expected_revision)
        return _changed(session)

    @app.post("/api/undo")
    def undo() -> dict[str, int]:
        session.undo()
        return _changed(session)

    @app.post("/api/redo")
    def redo() -> dict[str, int]:
        session.redo()
        return _changed(session)


def _add_jobs(app: FastAPI, session: Session) -> None:
    @app.post("/api/tomograms/{t}/find")
    def find(t: int, body: bodies.Search) -> dict[str, int]:
        return _changed(session, job=session.find(t, body.kinds, body.diameter_angstrom))

    @app.post("/api/tomograms/{t}/kinds/{kind}/segment")
    def segment(t: int, kind: int) -> dict[str, int]:
        return _changed(session, job=session.segment(t, kind))

    @app.post("/api/jobs/{job}/cancel")
    def cancel(job: int) -> dict[str, int]:
        session.cancel(job)
        return _changed(session)


def _add_judging(app: FastAPI, session: Session) -> None:
    @app.patch("/api/tomograms/{t}/kinds/{kind}")
    def set_threshold(t: int, kind: int, body: bodies.ThresholdChange) -> dict[str, int]:
        session.set_threshold(t, kind, body.threshold, expected=body.expected_revision)
        return _changed(session)

    @app.post("/api/tomograms/{t}/kinds/{kind}/candidates")
    def add_candidate(t: int, kind: int, body: bodies.NewCandidate) -> dict[str, int]:
        return _changed(session, candidate=session.add_candidate(t, kind, body.point))

    @app.patch("/api/tomograms/{t}/kinds/{kind}/candidates/{candidate}")
    def change_candidate(t: int, kind: int, candidate: int, body: bodies.CandidateChange) -> dict[str, int]:
        expected = body.expected_revision
        if body.point is not None:
            session.move_candidate(t, kind, candidate, body.point, expected=expected)
            expected = None  # the move was the last change
        if "verdict" in body.model_fields_set:
            session.judge(t, kind, candidate, body.verdict, expected=expected)
        return _changed(session)


def _add_exchange(app: FastAPI, session: Session, command: str) -> None:
    @app.get("/api/tomograms/{t}/export")
    def export(t: int, format: Literal["zip", "csv", "star"] = "zip") -> FileResponse:  # noqa: A002
        folder = tempfile.TemporaryDirectory(prefix="cryosam-")
        try:
            if format == "zip":
                write_all(session, t, Path(folder.name, "files"), command)
                file = _zipped(Path(folder.name, "files"))
            else:
                write_tables(session, t, Path(folder.name))
                file = Path(folder.name, f"particles.{format}")
        except BaseException:
            folder.cleanup()
            raise
        stem = session.tomograms[t].tomogram.name
        has_structures = any(kind.structure != "particle" for kind in session.state.kinds)
        name = f"{stem}-{'structures' if has_structures and format == 'zip' else 'particles'}.{format}"
        return FileResponse(file, filename=name, media_type=_BINARY, background=BackgroundTask(folder.cleanup))

    @app.post("/api/tomograms/{t}/import")
    async def import_(
        t: int, kind: int, filename: str, request: Request, role: Literal["candidates", "clicks"] = "candidates"
    ) -> JSONResponse:
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > _MOST_UPLOADED:
                return _error(413, "The file is larger than 64 MB, which is too large for a points file.")
        are_clicks = role == "clicks"
        n_points = await run_in_threadpool(
            import_points, session, t, kind, filename, bytes(content), are_clicks=are_clicks
        )
        return JSONResponse(_changed(session, n_points=n_points))


def _add_errors(app: FastAPI) -> None:
    """Turn every error into one sentence."""

    @app.exception_handler(CryosamError)
    async def refuse(_: Request, error: CryosamError) -> JSONResponse:
        status = 404 if isinstance(error, UnknownItemError) else 409 if isinstance(error, ConflictError) else 422
        text = " ".join(str(error).split())
        return _error(status, text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."))

    @app.exception_handler(RequestValidationError)
    async def explain(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return _error(422, f"The request is invalid: {where}: {first['msg']}.")


def _changed(session: Session, **more: int) -> dict[str, int]:
    return {"revision": session.revision, **more}


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status_code=status)


def _zipped(folder: Path) -> Path:
    """Create a zip file of the files in a folder; tables and labels compress well."""
    file = folder.with_suffix(".zip")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder))
    return file


def _no_page() -> HTMLResponse:
    text = "<!doctype html><title>CryoSAM</title><p>The page was not built. Run <code>make page</code> and reload."
    return HTMLResponse(text, status_code=503)
