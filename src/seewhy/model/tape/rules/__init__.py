"""Rules of backward propagation, on the operations that `tape.intercept` sees."""
