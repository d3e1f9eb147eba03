"""Image references to checked bytes: data URLs, guarded fetching, limits applied to what the header says."""

from service.ingest.budget import RequestLimits
from service.ingest.fetch import USER_AGENT, Fetcher, FetchLimits
from service.ingest.guard import URLPolicy
from service.ingest.keys import content_key
from service.ingest.probe import ImageLimits
from service.ingest.read import Ingest

__all__ = [
    "USER_AGENT",
    "FetchLimits",
    "Fetcher",
    "ImageLimits",
    "Ingest",
    "RequestLimits",
    "URLPolicy",
    "content_key",
]
