"""Sample quality: distances to the data, copies of training examples, holes in the prior."""
