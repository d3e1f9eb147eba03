"""The page at `/`: ask about a picture in a browser, and see its tiles, its tokens and where the time went.

This package only serves static files; everything that the page shows comes from the API.
"""

from service.playground.routes import playground_routes

__all__ = ["playground_routes"]
