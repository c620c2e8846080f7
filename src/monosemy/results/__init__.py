"""Tidy tables of results: statistics over seeds and the words for them."""
