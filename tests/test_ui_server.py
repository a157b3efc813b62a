"""The server: what a page gets, and what everybody else does not get."""

import asyncio
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2 as httpx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from starlette.testclient import TestClient

from cryosam.arrays import Plane
from cryosam.cli import main
from cryosam.errors import InputError
from cryosam.io import write_volume
from cryosam.masks import InstanceMask
from cryosam.results import Average, Segmentation
from cryosam.run_report import RunReport
from cryosam.ui.server import make_app
from cryosam.ui.server.running import _listen, _names, is_local
from cryosam.ui.session import Session
from cryosam.ui.viewed import Gallery, ViewedTomogram

SHAPE = (20, 24, 30)
POINT = [10, 12, 14]
HOST, TOKEN = "127.0.0.1:8765", "not-a-secret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SECRET = "nobody may read this"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_volume(tmp_path / "tomo.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), 10.0)
    return tmp_path / "tomo.mrc"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<title>the page</title>")
    (folder / "assets" / "index.js").write_text("1")
    (tmp_path / "secret.txt").write_text(SECRET)
    return folder


@pytest.fixture
def session(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """With answers at once in the place of the core."""
    from cryosam import segmentation

    def cube(point: Any) -> InstanceMask:
        return InstanceMask((8, 10, 12), np.ones((5, 5, 5), dtype=bool))

    def segment(tomogram: Any, prompts: Any, config: Any, options: Any = None) -> Segmentation:
        points, scores, masks = np.array([POINT, [3, 4, 5]], dtype=float), np.array([0.9, 0.3]), (cube(0), cube(1))
        if options is not None:
            options.progress("segmenting", 1, 2)
        return Segmentation(
            shape=SHAPE,
            points=points[:1],
            scores=scores[:1],
            masks=masks[:1],
            candidate_points=points,
            candidate_scores=scores,
            candidate_masks=masks,
            threshold=0.5,
            prompt_masks=(cube(0),),
            average=Average(np.arange(125, dtype=np.float32).reshape(5, 5, 5), 1.5),
            report=RunReport(diameter=6.0),
        )

    monkeypatch.setattr(segmentation, "segment", segment)
    monkeypatch.setattr(segmentation, "segment_prompts", segment)
    session = Session(Gallery([ViewedTomogram(file)]))
    yield session
    session.close()


@pytest.fixture
def anyone(session: Session, page: Path) -> Iterator[TestClient]:
    """A browser without the token."""
    app = make_app(session, token=TOKEN, hosts=[HOST, "localhost:8765"], command="cryosam serve", static=page)
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(anyone: TestClient) -> TestClient:
    """A browser that opened the printed address."""
    assert anyone.get(f"/?token={TOKEN}").status_code == 303
    return anyone


@pytest.fixture
def kind(client: TestClient, session: Session) -> int:
    """A kind of which something was found."""
    number = client.post("/api/kinds", json={"name": "ribosome", "colour": "#4cc9f0"}).json()["kind"]
    assert client.post("/api/tomograms/0/clicks", json={"kind": number, "point": POINT, "positive": True}).is_success
    assert client.post("/api/tomograms/0/find", json={"kinds": None, "diameter_angstrom": None}).is_success
    while client.get("/api/session").json()["job"] is not None:
        time.sleep(0.01)
    return int(number)


# --------------------------------------------------------------------------------------------------------------- guard


def test_the_printed_address_sets_a_cookie_and_hides_the_token(anyone: TestClient) -> None:
    answer = anyone.get(f"/?token={TOKEN}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("cryosam-8765=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "the page" in anyone.get("/").text


async def get_raw(app: Any, path: str) -> tuple[int, str]:
    """Ask for a path as it is written: clients tidy paths up before they send them."""
    sent: list[dict[str, Any]] = []

    requests = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for request in requests:
            return request
        await asyncio.Event().wait()  # the client stays
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", HOST.encode()), (b"authorization", BEARER["Authorization"].encode())]
    scope = {"type": "http", "method": "GET", "path": unquote(path), "raw_path": path.encode(), "headers": headers}
    await app(scope | {"query_string": b"", "scheme": "http", "root_path": ""}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode("latin-1")


PATHS = ["/", "/api/session", "/api/tomograms/0/slice/z/3", "/assets/index.js", "/api/events", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": "Basic " + TOKEN},
        {"Cookie": "cryosam-8765=wrong"},
        {"Cookie": f"cryosam-9999={TOKEN}"},
        {"Cookie": "\x7f;;="},
        {"Authorization": "Bearer ünlike"},
    ],
)
def test_without_the_token_nobody_gets_anything(anyone: TestClient, path: str, headers: dict[str, str]) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = anyone.get(path, headers=encoded)
    assert answer.status_code == 401
    assert "the page" not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("given", ["wrong", "", TOKEN[:-1], TOKEN + "x", "%C3%BC"])
def test_a_wrong_token_in_the_address_gets_a_page_that_says_what_to_do(anyone: TestClient, given: str) -> None:
    answer = anyone.get(f"/?token={given}")
    assert answer.status_code == 401
    assert "cryosam serve" in answer.text
    assert "set-cookie" not in answer.headers


def test_the_token_in_the_address_opens_nothing_but_the_page(anyone: TestClient) -> None:
    assert anyone.get(f"/api/session?token={TOKEN}").status_code == 401
    assert anyone.post(f"/?token={TOKEN}").status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80", "", "127.0.0.1:8765.evil.example"]
)
@pytest.mark.parametrize("path", ["/api/session", f"/?token={TOKEN}"])
def test_a_foreign_host_is_refused_even_with_the_token(anyone: TestClient, host: str, path: str) -> None:
    answer = anyone.get(path, headers={"Host": host, **BEARER})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://127.0.0.1:8765", "http://127.0.0.1:9999", "null", ""]
)
def test_a_foreign_origin_is_refused_even_with_the_cookie(client: TestClient, session: Session, origin: str) -> None:
    body = {"name": "a", "colour": "#ffffff"}
    assert client.post("/api/kinds", json=body, headers={"Origin": origin}).status_code == 403
    assert session.state.kinds == ()
    assert client.post("/api/kinds", json=body, headers={"Origin": f"http://{HOST}"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/..%5csecret.txt",
        "//secret.txt",
        "/api/tomograms/..%2f..%2fsecret.txt/slice/z/0",
        "/api/tomograms/0/slice/z/..%2f..%2f..%2fsecret.txt",
    ],
)
def test_a_path_leads_to_nothing_but_the_page(client: TestClient, page: Path, path: str) -> None:
    whole = path.replace("secret.txt", f"{page.parent}/secret.txt".lstrip("/"))
    for each in (path, whole):
        status, body = asyncio.run(get_raw(client.app, each))
        assert status in (404, 422), each
        assert SECRET not in body


def test_the_page_itself_is_found_by_its_path(client: TestClient) -> None:
    """What the test above asks can be answered."""
    assert asyncio.run(get_raw(client.app, "/assets/../%69ndex.html")) == (200, "<title>the page</title>")


def test_a_link_out_of_the_page_is_not_followed(client: TestClient, page: Path) -> None:
    (page / "link.txt").symlink_to(page.parent / "secret.txt")
    assert client.get("/link.txt").status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/session", "/nothing"])
def test_every_answer_tells_the_browser_to_run_nothing_foreign(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert ("no-store" in headers["cache-control"]) == path.startswith("/api/")


def test_a_page_that_was_not_built_says_how_to_build_it(session: Session, tmp_path: Path) -> None:
    with TestClient(make_app(session, token=TOKEN, hosts=[HOST], static=tmp_path), base_url=f"http://{HOST}") as client:
        answer = client.get("/", headers=BEARER)
    assert answer.status_code == 503
    assert "make page" in answer.text


# ------------------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(("plane", "index", "shape"), [("z", 19, "24,30"), ("y", 23, "20,30"), ("x", 29, "20,24")])
def test_a_slice_is_bytes_in_rows(client: TestClient, session: Session, plane: Plane, index: int, shape: str) -> None:
    answer = client.get(f"/api/tomograms/0/slice/{plane}/{index}")
    assert answer.headers["x-shape"] == shape
    assert answer.content == session.tomograms.pixels(0, plane, index).tobytes()
    assert client.get(f"/api/tomograms/0/slice/{plane}/{index}?slab=3&smooth=1").content != answer.content


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/tomograms/0/slice/z/20", 404),
        ("/api/tomograms/0/slice/z/-1", 404),
        ("/api/tomograms/1/slice/z/0", 404),
        ("/api/tomograms/-1/slice/z/0", 404),
        ("/api/tomograms/0/slice/w/0", 422),
        ("/api/tomograms/0/slice/z/0?slab=0", 422),
        ("/api/tomograms/0/slice/z/0?smooth=nan", 422),
        ("/api/tomograms/7/candidates", 404),
        ("/api/tomograms/7/outlines/z/0", 404),
        ("/api/tomograms/0/thumbnail/1?z=1&y=2&x=3", 404),
        ("/api/tomograms/0/thumbnail/1?z=nan&y=2&x=3", 422),
        ("/api/tomograms/0/meshes/1", 404),
        ("/api/tomograms/0/average/1", 404),
        ("/api/tomograms/0/export?format=exe", 422),
        ("/api/tomograms/0/export", 422),
        ("/api/nothing", 404),
    ],
)
def test_what_is_not_there_is_one_sentence(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert detail


@pytest.mark.parametrize(
    "body",
    [
        {"kind": 1, "point": [1, 2]},
        {"kind": 1, "point": [1, 2, "x"]},
        {"kind": 1, "point": [1, 2, 3], "path": "/etc/passwd"},
        {"point": [1, 2, 3]},
        [],
    ],
)
def test_odd_bodies_are_refused(client: TestClient, body: Any) -> None:
    answer = client.post("/api/tomograms/0/clicks", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("The request is invalid")


def test_from_a_click_to_a_list(client: TestClient, kind: int) -> None:
    described = client.get("/api/session").json()
    view = described["views"]["0"]["kinds"][str(kind)]
    assert view["n_candidates"] == 2
    assert view["clicks"][0]["point"] == POINT
    assert described["can_undo"]
    answer = client.get("/api/tomograms/0/candidates").json()
    assert answer["revision"] == described["revision"]
    best, worst = answer["kinds"][str(kind)]
    assert (best["score"], best["verdict"], best["n_voxels"]) == (0.9, None, 125)
    assert best["box"] == [[8, 10, 12], [13, 15, 17]]
    drawn = client.get("/api/tomograms/0/outlines/z/10").json()["outlines"]
    assert {(o["candidate"] is None, o["click"] is None) for o in drawn} == {(True, False), (False, True)}

    address = f"/api/tomograms/0/kinds/{kind}"
    assert client.patch(address, json={"threshold": 0.2}).is_success
    assert client.patch(f"{address}/candidates/{worst['id']}", json={"verdict": "rejected"}).is_success
    assert client.patch(f"{address}/candidates/{best['id']}", json={"point": [9, 9, 9]}).is_success
    best, worst = client.get("/api/tomograms/0/candidates").json()["kinds"][str(kind)]
    assert (best["moved"], best["point"], best["verdict"]) == (True, [9, 9, 9], None)
    assert worst["verdict"] == "rejected"
    assert client.patch(f"{address}/candidates/{worst['id']}", json={"verdict": None}).is_success
    added = client.post(f"{address}/candidates", json={"point": [5, 5, 5]}).json()["candidate"]
    listed = client.get("/api/tomograms/0/candidates").json()["kinds"][str(kind)]
    assert [c["verdict"] for c in listed] == ["accepted", None, None]
    assert listed[0]["id"] == added
    assert client.post("/api/undo").is_success
    assert len(client.get("/api/tomograms/0/candidates").json()["kinds"][str(kind)]) == 2
    assert client.post("/api/redo").is_success
    click = view["clicks"][0]["id"]
    assert client.delete(f"/api/tomograms/0/clicks/{click}").is_success
    assert client.delete(f"/api/tomograms/0/clicks/{click}").status_code == 404
    assert client.patch(f"/api/kinds/{kind}", json={"name": "another"}).is_success
    assert client.delete(f"/api/kinds/{kind}").is_success
    assert client.get("/api/session").json()["kinds"] == []


def test_an_outdated_change_is_a_conflict(client: TestClient, kind: int) -> None:
    seen = client.get("/api/session").json()["revision"]
    address = f"/api/tomograms/0/kinds/{kind}"
    assert client.patch(address, json={"threshold": 0.2, "expected_revision": seen}).is_success
    answer = client.patch(address, json={"threshold": 0.3, "expected_revision": seen})
    assert answer.status_code == 409
    assert "changed in the meantime" in answer.json()["detail"]


def test_grey_values_are_asked_for_by_themselves(client: TestClient, session: Session) -> None:
    """The session must not wait for the voxels of every tomogram."""
    (described,) = client.get("/api/session").json()["tomograms"]
    assert set(described) == {"id", "name", "shape", "voxel_size_angstrom"}
    grey = client.get("/api/tomograms/0/grey").json()
    intensities = session.tomograms[0].tomogram.data
    assert intensities.min() < grey["low"] < -2
    assert 2 < grey["high"] < intensities.max()
    assert len(grey["histogram"]) == 256
    assert client.get("/api/tomograms/1/grey").status_code == 404


def test_the_average_is_a_picture_of_three_slices(client: TestClient, kind: int) -> None:
    picture = Image.open(io.BytesIO(client.get(f"/api/tomograms/0/average/{kind}").content))
    assert (picture.format, picture.size) == ("PNG", (288, 96))
    z, y, x = np.split(np.asarray(picture).astype(int), 3, axis=1)
    for slice_, (down, across) in ((z, (5, 1)), (y, (25, 1)), (x, (5, 25))):  # steps from voxel to voxel
        assert (np.ptp(slice_[:, 48]) > np.ptp(slice_[48])) == (down > across)


def test_thumbnails_and_meshes(client: TestClient, kind: int) -> None:
    best, worst = client.get("/api/tomograms/0/candidates").json()["kinds"][str(kind)]
    z, y, x = best["point"]
    place = f"/api/tomograms/0/thumbnail/{kind}?z={z}&y={y}&x={x}"
    picture = Image.open(io.BytesIO(client.get(place).content))
    assert (picture.format, picture.size) == ("PNG", (96, 96))
    assert np.asarray(picture).std() > 20
    shown = client.get(f"/api/tomograms/0/meshes/{kind}?min_score=0.5").content
    count, number, n_vertices, n_faces = struct.unpack("<4I", shown[:16])
    assert (count, number) == (1, best["id"])
    assert len(shown) == 16 + 12 * (n_vertices + n_faces)
    vertices = np.frombuffer(shown, "<f4", 3 * n_vertices, 16).reshape(-1, 3)
    np.testing.assert_allclose(vertices.mean(axis=0), (10, 12, 14), atol=0.1)
    everything = client.get(f"/api/tomograms/0/meshes/{kind}?min_score=0").content
    assert struct.unpack("<I", everything[:4]) == (2,)
    assert struct.pack("<I", worst["id"]) in everything


def test_exports(client: TestClient, kind: int) -> None:
    answer = client.get("/api/tomograms/0/export?format=zip")
    assert 'filename="tomo-particles.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = set(archive.namelist())
        run = json.loads(archive.read("run.json"))
        table = archive.read("particles.csv")
    assert names >= {"particles.csv", "particles.star", "instances.mrc", "semantic.mrc", "run.json", "report.html"}
    assert run["command"] == "cryosam serve"
    assert run["n_particles"] == 1
    assert client.get("/api/tomograms/0/export?format=csv").content == table
    assert b"_rlnCenteredCoordinateZAngst" in client.get("/api/tomograms/0/export?format=star").content


def test_imports(client: TestClient, kind: int) -> None:
    address = f"/api/tomograms/0/import?kind={kind}&role=candidates&filename="
    answer = client.post(address + "picks.csv", content=b"z,y,x\n1,2,3\n4,5,6\n").json()
    assert answer["n_points"] == 2
    accepted = client.get("/api/tomograms/0/candidates").json()["kinds"][str(kind)][:2]
    assert [c["point"] for c in accepted] == [[1, 2, 3], [4, 5, 6]]
    refused = client.post(address + "/etc/passwd", content=b"z,y,x\n1,2,3\n")
    assert refused.status_code == 422
    assert "unknown points format" in refused.json()["detail"]


def test_imported_particles_are_segmented(client: TestClient, kind: int, session: Session) -> None:
    address = f"/api/tomograms/0/kinds/{kind}/segment"
    assert client.post(address).status_code == 422  # everything has a mask
    query = f"kind={kind}&filename=picks.csv"
    assert client.post(f"/api/tomograms/0/import?{query}", content=b"z,y,x\n10,12,14\n").status_code == 200
    assert client.post(address).json()["job"] > kind
    deadline = time.monotonic() + 30
    while client.get("/api/session").json()["job"] is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert all(candidate.mask.n_voxels for candidate in session.state.view(0, kind).candidates)


def test_a_huge_upload_is_refused(client: TestClient, kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryosam.ui.server.app._MOST_UPLOADED", 10)
    answer = client.post(f"/api/tomograms/0/import?kind={kind}&filename=a.csv", content=b"z,y,x\n1,2,3\n")
    assert answer.status_code == 413


# -------------------------------------------------------------------------------------------------------------- running


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False), ("me", False)]
)
def test_which_addresses_others_can_reach(host: str, expected: bool) -> None:
    assert is_local(host) == expected


def test_the_server_answers_under_the_names_that_lead_to_it() -> None:
    assert set(_names("127.0.0.1", 80)) == {"127.0.0.1:80", "localhost:80"}
    everywhere = _names("0.0.0.0", 80)
    assert "0.0.0.0:80" not in everywhere
    assert f"{socket.gethostname()}:80" in everywhere


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="another --port"):
        _listen("127.0.0.1", taken.getsockname()[1])


def test_what_is_no_tomogram_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["serve", str(tmp_path / "missing.mrc")])
    assert result.exit_code == 2
    assert "no such file" in result.output


def test_the_command_serves_tells_and_ends(file: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "cryosam", "serve", str(file), "--no-browser", "--port", "0"]
    environment = os.environ | {"CRYOSAM_SESSIONS": str(tmp_path / "sessions")}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)", process.stdout.readline())
            assert found is not None
            address, token = found.groups()
            assert httpx.get(f"{address}/api/session").status_code == 401
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=address, headers=headers, timeout=30) as client:
                assert client.get("/api/session").json()["tomograms"][0]["shape"] == list(SHAPE)
                with client.stream("GET", "/api/events") as events:
                    lines = events.iter_lines()
                    assert next(lines) == "event: session"
                    before = json.loads(next(lines).removeprefix("data: "))["revision"]
                    httpx.post(f"{address}/api/kinds", json={"name": "a", "colour": "#ffffff"}, headers=headers)
                    told = [line for line, _ in zip(lines, range(3), strict=False)]
                    assert json.loads(told[-1].removeprefix("data: "))["revision"] == before + 1
                    process.send_signal(signal.SIGINT)  # with a page still open, which stays so until it is told
                    assert list(lines) == []
            assert process.wait(20) == 0
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    (kept,) = (tmp_path / "sessions").glob("*/session.npz")
    assert kept.stat().st_size > 0


def test_listening_elsewhere_is_warned_of(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def note(session: Session, **options: Any) -> None:
        asked.update(options)
        session.close()

    monkeypatch.setattr("cryosam.ui.server.running.serve", note)
    words = ["serve", str(file), "--session", str(tmp_path / "s")]
    assert "warning" not in CliRunner().invoke(main, words).output
    assert asked["host"] == "127.0.0.1"
    assert asked["opens_browser"]
    result = CliRunner().invoke(main, [*words, "--host", "0.0.0.0", "--no-browser"])
    assert "anyone on your network" in result.output
    assert asked["host"] == "0.0.0.0"
    assert not asked["opens_browser"]
