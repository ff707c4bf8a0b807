"""The two ports that make one machine and a cluster the same to everybody else: registry and jobs."""
