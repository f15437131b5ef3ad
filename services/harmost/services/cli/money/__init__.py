"""What people see of money: budgets, burn, ledger rows, chargeback, prices."""
