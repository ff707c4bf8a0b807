"""Hearth on a host of a cluster: Nomad runs the services, Consul knows where they are."""
