"""Evaluation: what a reviewer and a statistician ask of scores, for our networks and for anybody's.

Comes in: scores and labels (`read_scores`). Goes out: figures with 95 % intervals, curves and tests.
"""
