"""Adds up an invoice: invoice.py NAME=PRICE..., with the house's own library for money."""

import sys

from acme_money import Money


def main(arguments):
    total = Money("0.00")
    for argument in arguments:
        name, _, price = argument.partition("=")
        total += Money(price)
        print(f"{name:<20}{price:>10}")
    print(f"{'total':<20}{str(total):>10}")


main(sys.argv[1:])
