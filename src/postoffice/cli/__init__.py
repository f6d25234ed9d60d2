"""The commands `postoffice` and `dbedit`: thin faces over the operations layer."""
