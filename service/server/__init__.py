"""The HTTP server's side of connections: accepting them, how many there may be, and how long and how large each may be.

uvicorn parses and runs the application; this room bounds what a client can hold without sending a request.
"""

from service.server.bounded_server import BoundedServer, Bounds
from service.server.connections import Connections, Reason
from service.server.descriptors import ADMIN_CONNECTIONS, Descriptors, plan_descriptors
from service.server.limits import ConnectionLimits
from service.server.reserve import Reserve

__all__ = [
    "ADMIN_CONNECTIONS",
    "BoundedServer",
    "Bounds",
    "ConnectionLimits",
    "Connections",
    "Descriptors",
    "Reason",
    "Reserve",
    "plan_descriptors",
]
