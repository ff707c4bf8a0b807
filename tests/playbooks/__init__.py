"""The cluster's playbooks on labs: minutes each, so `make playbooks` runs them and `make test` does not."""
