"""Consul and Nomad: their clients, and the ports that stand on them."""
