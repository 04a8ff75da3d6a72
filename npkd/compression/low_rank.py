def low_rank(*a): raise NotImplementedError
def ranks_within(*a): raise NotImplementedError
