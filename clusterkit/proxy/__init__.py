"""Passing requests on to an upstream, byte for byte."""
