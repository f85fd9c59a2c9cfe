"""One wire protocol each, behind one interface. The only room that knows how providers speak."""
