"""The compiled engine: the steps of `engine.NumpyEngine`, whole chunks of them in one function compiled with Numba.

The plan. A network is divided into shards by its shape alone (`partition`): small ones are one shard; larger ones are
2 to 8, each with some of the hidden units or, where there are far more features than units, some of the features. One
step is, for each shard:

    forward     Z1, A1 of the shard and its summand of the scores             (of Z1, where the features are sharded)
    barrier     wait for the other threads; the only wait of a step
    all_reduce  the sum of all summands, shard after shard; then the softmax   (ReLU and scores before it)
    backward    the gradients of the shard
    update      its parameters and the optimiser's state

Where the whole gradient is asked for (its norm, clipping) or might not be finite, a second barrier comes before all
updates. A chunk begins with copies of the parameters into the shards, and ends with copies back.

During a chunk, numbers too small for a normal float become 0 (x86): with the rests of probabilities near 0 and of
averages without gradients, a processor takes several times as long.

A thread does this for some of the shards, the first thread also the bookkeeping. Which thread does a shard changes no
bit: a shard's numbers come from its own arrays and the ordered sum, and BLAS, where products are large, multiplies
on one thread. So a training gives the same bytes on 1, 2 or 16 threads, also if that changes in mid-training.

That makes it safe to choose the threads by what the machine gives (`engine`, `sync`): a waiting thread offers the
processor to others after a few microseconds, and where the first thread waits more than it works, it continues alone
for a while, longer if it had to wait again soon.

    engine     the Engine and its threads        products  small products as loops and tiles, large ones by BLAS
    steps      the chunk, the step               layers    bias, ReLU, softmax, sums
    partition  shards and their arrays           updates   the six optimisers
    sync       barrier, all_reduce               jit       how functions are compiled; instructions for threads

What the tricks gain: `python -m benchmarks --tricks`.
"""
