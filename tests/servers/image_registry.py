"""A registry that images can be pushed to, for tests: it checks what it is sent and keeps none of it.

The requests are those of the OCI Distribution Specification 1.1, "Push".
"""

import hashlib
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class _Upload:
    def __init__(self) -> None:
        self.hash, self.size = hashlib.sha256(), 0

    def take(self, chunk: bytes) -> None:
        self.hash.update(chunk)
        self.size += len(chunk)


@dataclass
class ImageRegistry:
    """What was pushed."""

    tags: list[str] = field(default_factory=list)  #: NAME:TAG
    blobs: set[str] = field(default_factory=set)  #: digests
    _uploads: dict[str, "_Upload"] = field(default_factory=dict)

    @property
    def app(self) -> Starlette:
        """The HTTP interface."""
        return Starlette(
            routes=[
                Route("/v2/", self._version),
                Route("/v2/{name}/blobs/uploads/", self._begin, methods=["POST"]),
                Route("/v2/{name}/blobs/uploads/{upload}", self._receive, methods=["PATCH", "PUT"]),
                Route("/v2/{name}/blobs/{digest}", self._blob, methods=["HEAD"]),
                Route("/v2/{name}/manifests/{tag}", self._manifest, methods=["HEAD", "PUT"]),
            ]
        )

    async def _version(self, _: Request) -> Response:
        return JSONResponse({})

    async def _begin(self, request: Request) -> Response:
        upload = str(uuid4())
        self._uploads[upload] = _Upload()
        return self._accepted(request, upload)

    async def _receive(self, request: Request) -> Response:
        upload = request.path_params["upload"]
        async for chunk in request.stream():
            self._uploads[upload].take(chunk)
        if request.method == "PATCH":
            return self._accepted(request, upload)
        received = f"sha256:{self._uploads.pop(upload).hash.hexdigest()}"
        if received != request.query_params["digest"]:
            return JSONResponse({"errors": [{"code": "DIGEST_INVALID"}]}, 400)
        self.blobs.add(received)
        return Response(status_code=201, headers={"docker-content-digest": received})

    def _accepted(self, request: Request, upload: str) -> Response:
        place = f"/v2/{request.path_params['name']}/blobs/uploads/{upload}"
        received = f"0-{max(0, self._uploads[upload].size - 1)}"
        headers = {"location": place, "docker-upload-uuid": upload, "range": received}
        return Response(status_code=202, headers=headers)

    async def _blob(self, request: Request) -> Response:
        return Response(status_code=200 if request.path_params["digest"] in self.blobs else 404)

    async def _manifest(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(status_code=404)
        manifest = await request.json()
        wanted = {manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
        if not wanted <= self.blobs:
            return JSONResponse({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}, 400)
        self.tags.append(f"{request.path_params['name']}:{request.path_params['tag']}")
        digest = f"sha256:{hashlib.sha256(await request.body()).hexdigest()}"
        return Response(status_code=201, headers={"docker-content-digest": digest})
