"""How the models to be edited are made."""
