"""Found only if dependencies= arrived."""

text = "the dependency is here"
