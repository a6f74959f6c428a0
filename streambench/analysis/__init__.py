"""Analysis of a run: frames, summary, leaderboard, comparisons with other runs, assertion results, run quality.

Input is a run read from disk; output is plain dataclasses. `report` renders them; the commands derive exit codes.
"""
