"""The firewall preset that `tally doctor --firewall` prints: under it all ports of a house look alike.

Silence alone is visible: among ports that answer "closed", the one that says nothing stands out, and a stranger learns that
something is there. So everything else falls silent too. A default-drop input chain does that with the kernel's own means; a
hand-made ICMP "port unreachable" for the UDP port was refused (it needs CAP_NET_RAW and must imitate the kernel's limits).
"""

from typing import Final

from tallystick.errors import Misuse
from tallystick.net.address import DEFAULT_PORT
from tallystick.net.stream import LISTEN_PORTS

_TEXT: Final = """\
#!/usr/sbin/nft -f
# tallystick: a default-drop firewall under which all ports of this machine look alike to strangers.
# Read it, keep your own way in (below), then load it:  tally doctor --firewall | sudo nft -f -
# Take it off again:                                    sudo nft delete table inet tallystick
table inet tallystick
delete table inet tallystick
table inet tallystick {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iif "lo" accept
        # Answers to what this machine asked. A paired client's TCP connection is one: the house connects first.
        ct state established,related accept
        # Dropped, not rejected: after a client's RST its next SYN counts as invalid until the house connects again.
        ct state invalid drop
        # IPv6 does not work without these (RFC 4890, section 4.4.1).
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} ip6 hoplimit 255 accept
        icmpv6 type mld-listener-query accept
        # The knock. Who is not paired gets no answer, as on any other port.
        udp dport {port} accept
        # Modes 2 and 3, for clients behind a NAT that rewrites ports: the house listens there for a moment. Take the # away
        # here and below.
        {off}tcp dport {first}-{last} ct state new accept
        # Your own way in, for example SSH. Without it you may lock yourself out.
        # tcp dport 22 accept
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        # Closed ports of that range stay as silent as all others: no RST for a SYN. Such a RST has the number 0 and is told
        # apart by it from one that ends a connection (RFC 9293, section 3.10.7.1).
        {off}tcp sport {first}-{last} tcp flags & (rst | ack) == rst | ack tcp sequence 0 drop
    }}
}}
"""


def preset(port: int = DEFAULT_PORT, *, listen: bool = False) -> str:
    """Rules for `nft -f`: everything is dropped except answers, neighbour discovery, and the knock.

    Args: port: the house's UDP port.  listen: with the rules for modes 2 and 3 in force; otherwise they are there as
        comments. Mode 1 needs no open port.
    Raises: Misuse: no such port.
    """
    if not 1 <= port <= 65_535:
        raise Misuse(f"no port {port}", "ports are 1 to 65535")
    return _TEXT.format(port=port, off="" if listen else "# ", first=LISTEN_PORTS[0], last=LISTEN_PORTS[-1])
