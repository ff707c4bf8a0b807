"""Says in sentences what a host's leaving means for the cluster; Ansible's tasks print them."""
