"""The library under every Hearth service: clients, records and ports to the outside. No business rules."""
