"""Post.Office: a mail server whose every setting is one form field, one command and one line of a file."""

__version__ = "0.1.0"
