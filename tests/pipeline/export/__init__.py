"""Months leave MySQL for the lake."""
