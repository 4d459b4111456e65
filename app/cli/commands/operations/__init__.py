"""Commands about payments and money: show, decide, compare and prove."""
