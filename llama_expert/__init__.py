"""Model servers: each expert gets the best model that this machine has and can hold."""
