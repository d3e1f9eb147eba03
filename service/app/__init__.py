"""How the parts are made, the order in which they come up, and the server that drains."""
