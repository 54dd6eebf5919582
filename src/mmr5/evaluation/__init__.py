"""Measuring rankings: runs, scores with intervals, reports."""
