"""Ports nobody listens on."""

import socket


def free_ports(count: int) -> list[int]:
    """`count` different free TCP ports of loopback."""
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in opened]
    for one in opened:
        one.close()
    return ports
