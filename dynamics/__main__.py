"""`python -m dynamics`: the command line."""

from dynamics.cli.main import main

if __name__ == "__main__":
    main()
