"""What ``datafeed bench`` and ``make bench`` run: measurements beside their ceilings and peers."""

__all__: list[str] = []
