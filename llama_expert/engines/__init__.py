"""The programs that can run a model, behind one protocol."""
