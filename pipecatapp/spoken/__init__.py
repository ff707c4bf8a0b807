"""What people say, as values: numbers, durations, moments and places, in English. Pure functions."""
