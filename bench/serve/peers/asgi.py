"""The same model as a Starlette application, the fastest of the usual Python servers under uvicorn with uvloop and httptools."""

import json

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route


async def ping(_):
    return Response()


async def invocations(request):
    return Response(json.dumps(json.loads(await request.body())), media_type="application/json")


app = Starlette(routes=[Route("/ping", ping), Route("/invocations", invocations, methods=["POST"])])
