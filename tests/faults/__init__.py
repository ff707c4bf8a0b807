"""The fault campaign: what the cluster must withstand, done to a real one (`make faults`)."""
