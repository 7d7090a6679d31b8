"""Tools that provoke the faults of docs: a server that misbehaves by seed, a killer, a disk that refuses."""
