"""Experts that play the roles without a language model. They need no key and no network, and know only the library."""
