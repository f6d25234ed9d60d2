"""`python -m postoffice` is the command `postoffice`."""

from postoffice.cli.main import main

if __name__ == "__main__":
    main()
