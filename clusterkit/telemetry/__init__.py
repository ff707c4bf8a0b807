"""What is told about the work: logs, metrics, traces and the log of actions, with secrets removed."""
