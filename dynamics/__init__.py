"""Simulation suite for the theory of how networks learn."""
