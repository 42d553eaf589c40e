"""Tunnels through the networks that hosts are behind: firewalls, IPv6, proxies, and cables that break."""
