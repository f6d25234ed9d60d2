"""Every key of the server, one file per Post.Office module, declarations only."""
