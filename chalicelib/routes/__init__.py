"""The HTTP side: each route parses, calls one function of the domain, and dumps what that returns.

| module | what it owns |
|---|---|
| `worker`, `register`, `host`, `operator`, `gateways`, `install`, `console` | the routes, by who calls them |
| `table` | every route, and the module that has its handler |
| `http` | what every route shares: credential, body, one shape for errors |
| `parsing` | a body or query as a type of the wire, or what is wrong with it |
| `negotiation` | what HTTP offers for the answer of a GET: 304, and gzip |
| `matching` | which route a path names |
| `api_gateway` | the app as Lambda calls it |
| `wheels` | which wheels a host's platform needs |

Imports every other room; no room imports this one.
"""
