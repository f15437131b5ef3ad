"""Money and tokens: prices, holds, ledgers, windows."""
