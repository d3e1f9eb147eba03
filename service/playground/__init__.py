"""The page at `/`: ask about a picture in a browser, and see its tiles, its tokens and where the time went.

Everything that it shows comes from the API. Knows its files and their headers; knows nothing of models or requests.
"""

from service.playground.routes import playground_routes

__all__ = ["playground_routes"]
