"""The multi-model contract: models are loaded, listed, asked and unloaded while the server runs.

    POST   /models          {"model_name": …, "url": folder}   200, 409 loaded already, 507 no memory
    GET    /models          the list, by pages
    GET    /models/NAME     one, with the memory that its workers use; 404
    DELETE /models/NAME     200 when its workers are gone; 404
    POST   /models/NAME/invoke

Each model has workers of its own: what one leaks or breaks is not another's, and
unloading gives back all that a model held.
"""

import json
import os
from urllib.parse import parse_qs, unquote

from . import wire
from .front import Group

PAGE = 100
LONGEST_NAME = 1024


class Models:
    """What the master answers itself."""

    def __init__(self, master):
        self._master = master

    def answer(self, client, request):
        """Answer a request for neither health nor an invocation, now or when it is done."""
        path, method = request.path, request.method
        name = unquote(path[len("/models/") :]) if path.startswith("/models/") else ""
        if path == "/models" and method == "POST":
            self._load(client, request)
        elif path == "/models" and method == "GET":
            self._list(client, request)
        elif name and method in ("GET", "DELETE"):
            self._one(client, request, name)
        elif path == "/models" or name:
            self._reply(client, request, wire.problem(405, "%s is not possible here" % method))
        elif path == "/ping" and method == "GET":
            self._reply(client, request, wire.response(200, b""))
        else:
            self._reply(client, request, wire.problem(404, "there is no %.200s here; invoke a model at /models/NAME/invoke" % path))

    def _reply(self, client, request, data):
        last = request is not None and not request.keep_alive
        self._master.front.reply(client, data, last)

    def _load(self, client, request):
        try:
            said = json.loads(request.body)
            name, url = said["model_name"], said["url"]
        except (ValueError, KeyError, TypeError):
            name = url = None
        if not isinstance(name, str) or not isinstance(url, str) or not 0 < len(name) <= LONGEST_NAME or not url:
            self._reply(client, request, wire.problem(400, 'the body has to be {"model_name": NAME, "url": FOLDER}'))
            return
        if name in self._master.groups:
            self._reply(client, request, wire.problem(409, "the model %s is loaded already" % name))
            return
        if not os.path.isdir(url):
            self._reply(client, request, wire.problem(404, "the folder %s of the model does not exist" % url))
            return
        group = Group(name, url, self._master.settings.workers)
        group.told = client
        self._master.groups[name] = group
        self._master.start(group)

    def loaded(self, group):
        """A model's first worker is ready."""
        self._tell(group, 200, {"status": "the model %s is loaded" % group.name})

    def failed(self, group, reason, killed):
        """A model cannot be loaded, or not any more."""
        memory = killed or "MemoryError" in reason
        self._tell(group, 507 if memory else 500, {"error": reason})
        self._master.groups.pop(group.name, None)
        self._master.remove(group)

    def unloaded(self, group):
        """The last worker of a model is gone."""
        self._tell(group, 200, {"status": "the model %s is unloaded" % group.name})

    def _tell(self, group, status, said):
        client, group.told = group.told, None
        if client is not None:
            self._master.front.reply(client, wire.response(status, json.dumps(said).encode("utf-8")))

    def _list(self, client, request):
        asked = parse_qs(request.query)
        after = asked.get("next_page_token", [""])[0]
        try:
            limit = max(1, min(PAGE, int(asked.get("limit", [PAGE])[0])))
        except ValueError:
            limit = PAGE
        names = sorted(name for name, group in self._master.groups.items() if group.loaded and name > after)
        groups = self._master.groups
        said = {"models": [{"modelName": name, "modelUrl": groups[name].model_dir} for name in names[:limit]]}
        if len(names) > limit:
            said["nextPageToken"] = names[limit - 1]
        self._reply(client, request, wire.response(200, json.dumps(said).encode("utf-8")))

    def _one(self, client, request, name):
        group = self._master.groups.get(name)
        if group is None or not group.loaded:
            self._reply(client, request, wire.problem(404, "the model %.200s is not loaded" % name))
        elif request.method == "GET":
            said = {"modelName": name, "modelUrl": group.model_dir, "memoryBytes": sum(map(_memory, group.processes))}
            self._reply(client, request, wire.response(200, json.dumps(said).encode("utf-8")))
        else:
            del self._master.groups[name]
            group.told = client
            self._master.remove(group)


def _memory(process):
    """What a worker keeps in memory that is its own, in bytes."""
    try:
        with open("/proc/%d/statm" % process.pid) as file:
            _, resident, shared = file.read().split()[:3]
    except (OSError, ValueError):
        return 0  # it ended just now
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
