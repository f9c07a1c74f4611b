"""Ways in which a model can be wrong, one class each; `diagnosis.CHECKS` lists them."""
