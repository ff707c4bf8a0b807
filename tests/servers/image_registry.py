"""A registry for images, for tests: it checks what is pushed to it and gives it out again.

The requests are those of the OCI Distribution Specification 1.1, "Pull" and "Push".
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route


class _Upload:
    def __init__(self, file: Path) -> None:
        self.file, self.hash = file, hashlib.sha256()
        file.touch()

    def take(self, chunk: bytes) -> None:
        self.hash.update(chunk)
        with self.file.open("ab") as kept:
            kept.write(chunk)


@dataclass
class ImageRegistry:
    """What was pushed; `folder` keeps the layers."""

    folder: Path
    tags: list[str] = field(default_factory=list)  #: NAME:TAG
    pulled: list[str] = field(default_factory=list)  #: NAME:TAG of each manifest given out
    _uploads: dict[str, _Upload] = field(default_factory=dict)

    @property
    def app(self) -> Starlette:
        """The HTTP interface."""
        return Starlette(
            routes=[
                Route("/v2/", self._version),
                Route("/v2/{name}/blobs/uploads/", self._begin, methods=["POST"]),
                Route("/v2/{name}/blobs/uploads/{upload}", self._receive, methods=["PATCH", "PUT"]),
                Route("/v2/{name}/blobs/{digest}", self._blob, methods=["GET", "HEAD"]),
                Route("/v2/{name}/manifests/{tag}", self._put_manifest, methods=["PUT"]),
                Route("/v2/{name}/manifests/{tag}", self._manifest, methods=["GET", "HEAD"]),
            ]
        )

    async def _version(self, _: Request) -> Response:
        return JSONResponse({})

    async def _begin(self, request: Request) -> Response:
        upload = str(uuid4())
        self._uploads[upload] = _Upload(self.folder / upload)
        return self._accepted(request, upload)

    async def _receive(self, request: Request) -> Response:
        upload = request.path_params["upload"]
        async for chunk in request.stream():
            self._uploads[upload].take(chunk)
        if request.method == "PATCH":
            return self._accepted(request, upload)
        done = self._uploads.pop(upload)
        received = f"sha256:{done.hash.hexdigest()}"
        if received != request.query_params["digest"]:
            return JSONResponse({"errors": [{"code": "DIGEST_INVALID"}]}, 400)
        done.file.rename(self._place(received))
        return Response(status_code=201, headers={"docker-content-digest": received})

    def _accepted(self, request: Request, upload: str) -> Response:
        place = f"/v2/{request.path_params['name']}/blobs/uploads/{upload}"
        received = f"0-{max(0, self._uploads[upload].file.stat().st_size - 1)}"
        headers = {"location": place, "docker-upload-uuid": upload, "range": received}
        return Response(status_code=202, headers=headers)

    async def _blob(self, request: Request) -> Response:
        blob = self._place(request.path_params["digest"])
        return FileResponse(blob) if blob.is_file() else Response(status_code=404)

    async def _put_manifest(self, request: Request) -> Response:
        manifest, text = await request.json(), await request.body()
        wanted = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
        if not all(self._place(digest).is_file() for digest in wanted):
            return JSONResponse({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}, 400)
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        for name in (request.path_params["tag"], digest):
            self._place(name).write_bytes(text)
        self.tags.append(self._name(request))
        return Response(status_code=201, headers={"docker-content-digest": digest})

    async def _manifest(self, request: Request) -> Response:
        place = self._place(request.path_params["tag"])
        if not place.is_file():
            return JSONResponse({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, 404)
        text = place.read_bytes()
        self.pulled.append(self._name(request))
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        kind = str(json.loads(text)["mediaType"])
        return Response(text, media_type=kind, headers={"docker-content-digest": digest})

    def _place(self, name: str) -> Path:
        return self.folder / name.replace(":", "-")

    def _name(self, request: Request) -> str:
        return f"{request.path_params['name']}:{request.path_params['tag']}"
