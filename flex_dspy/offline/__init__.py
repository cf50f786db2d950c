"""Experts that play the roles without a language model: no key, no network, and no knowledge but the library's."""
