"""Install the clients of others: `python -m tests.clients`."""

from tests.clients.catalog import INSTALLED

if __name__ == "__main__":
    for environment in INSTALLED:
        environment.make()
