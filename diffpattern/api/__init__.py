"""What a notebook uses: load a run, let its rule run on, simulate a known PDE, fit arrays.

    import diffpattern

    data = diffpattern.simulate("gray_scott", (64, 64), range(0, 1025, 16), count=8)
    run = diffpattern.fit(data, diffpattern.default_config())
    print(run.equation())
    later = run.rollout(data.values[0, -1], range(1024, 2049, 16))

The numbers are those of the commands, bit for bit where shapes and devices are the same.
"""
