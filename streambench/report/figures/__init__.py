"""Figures of a run. The only package that imports matplotlib; it does not use pyplot or change global settings.

docs/figures.md describes what each figure shows and the rules of the style.
"""
