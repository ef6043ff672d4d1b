"""Sockets: the one UDP port of a house, and TCP connections that are opened without being offered (DESIGN 6).

`address` (who is where), `udp` (the port that is knocked at), `tcp` (the three ways to open), `bpf` (kernel filters and
TCP-MD5 keys), `firewall` (the default-drop preset). Nothing here knows a key, a pair or a knock: bytes come in, bytes go
out, and what the caller decides in between is the caller's. Exact behaviour: docs/spec/net.md.
"""
