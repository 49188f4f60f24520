"""Texts as rows of tokens, for models that are tables of counts."""
