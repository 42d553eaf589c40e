"""The HTTP side: each route parses, calls one service function and dumps what it returns."""
