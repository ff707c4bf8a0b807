"""Judges an inventory and its hosts before Ansible changes anything; the role `preflight_checks` asks."""
