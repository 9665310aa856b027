"""The model server: one master process, and worker processes that hold the model.

main      what the server does before it serves: settings, what the source requires
settings  the environment variables of the contract, read and checked
master    keeps the workers alive, tells why they are not, ends them in order
front     accepts connections, answers /ping, hands each connection to a worker
models    the multi-model contract: /models
worker    a worker process: loads the model, answers the requests of its connections
batching  the same for a model that takes several requests at once
handler   the user's functions, and what stands in for those that are not given
frameworks, codecs   the defaults of each framework, and the formats of bodies
toolkit   what inference scripts import from the public toolkit
wire      HTTP/1.1
channel   what master and worker tell each other

A connection is accepted by the master and handed, as a descriptor, to one worker, which
serves it from then on without the master: the master is not in the way of a request.
It keeps the descriptor too. So when a worker dies, the request that it was working on is
answered with the reason, and every other connection of that worker goes to another one
with what it may have sent meanwhile: only what a handler has seen is lost, and nothing
is done twice.

Only the standard library, Python 3.8 and later, on Linux. Nothing here is imported by
name from the user's code, and the folder of these programs is not on the user's path.
"""
