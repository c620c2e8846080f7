"""Finetuned image networks."""
