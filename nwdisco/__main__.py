"""`python -m nwdisco` is the `nwdisco` command."""

from .cli import main

if __name__ == "__main__":
    main()
