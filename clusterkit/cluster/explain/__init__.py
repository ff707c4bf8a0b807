"""Says in sentences what Nomad's and Consul's answers mean; Ansible's tasks print them."""
