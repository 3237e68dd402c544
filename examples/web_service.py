"""An endpoint that takes an upload and answers with a verdict.

    pip install fastapi python-multipart uvicorn
    uvicorn --app-dir examples web_service:app
    curl -F video=@clip.mp4 http://127.0.0.1:8000/verdicts

An upload is bounded in size; one that is no video has a verdict too, `failed`. Two are scored at a time, others wait,
and when too many wait the answer is 503. There is no queue: what is under way when it ends is lost. For more than that
there are the connectors.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, File, HTTPException, Request, Response, UploadFile

from dmcl_sdk import Detector, VideoError, VideoLimits
from dmcl_sdk.detector import failed_verdict

MOST_BYTES = int(os.environ.get("MOST_BYTES", "200_000_000"))
ENVELOPE_BYTES = 64 * 2**10  # boundaries and headers of a form
AT_ONCE = 2
MOST_WAITING = 16


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load once, score many."""
    with Detector(limits=VideoLimits(max_bytes=MOST_BYTES, max_duration_s=600)) as detector:
        app.state.detector, app.state.places, app.state.waiting = detector, asyncio.Semaphore(AT_ONCE), 0
        yield


app = FastAPI(title="dmcl", lifespan=lifespan)


@app.middleware("http")
async def bounded(request: Request, call_next):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - Starlette's own
    """Refuse by the stated length; a body without one, which could be endless, is refused too."""
    if request.method == "POST":
        stated = request.headers.get("content-length", "")
        if not stated.isdecimal():
            return Response("Content-Length is needed\n", 411)
        if int(stated) > MOST_BYTES + ENVELOPE_BYTES:
            return Response(f"a video may have {MOST_BYTES} bytes\n", 413)
    return await call_next(request)


@app.post("/verdicts")
async def verdict(video: Annotated[UploadFile, File()]) -> Response:
    """A verdict, `dmcl.verdict/1`."""
    state = app.state
    if state.waiting >= MOST_WAITING:
        raise HTTPException(503, "too many videos wait", {"Retry-After": "30"})
    state.waiting += 1
    try:
        async with state.places:
            try:
                found = await state.detector.score_async(video.file)
            except VideoError as error:
                found = failed_verdict(error)
    finally:
        state.waiting -= 1
    return Response(found.to_json(), media_type="application/json")
