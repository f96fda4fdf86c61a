"""Bridges to other libraries, each imported only by whoever asks for it."""
