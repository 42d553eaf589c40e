"""Hosts in networks of their own: nobody reaches them, and what stands between them and the gateway is awkward."""
