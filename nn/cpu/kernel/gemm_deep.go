package kernel

import "sdnn/nn/cpu/pool"

// deepBlock is the number of values of C of a task that adds partial sums.
const deepBlock = 1 << 12

// deepJob adds the partial sums of a call of GemmDeep.
type deepJob struct {
	c, parts []float32
	size     int
	run      func(task, worker int)
}

// GemmDeep computes C = op(A) op(B), without gaps in c, for a C that is small
// against k: the products are cut in parts of the given number, a multiple of
// gemmKC, which threads share. Every part is summed as Gemm does; then the
// parts are added in ascending order. work holds the partial sums:
// GemmDeepWork floats.
func GemmDeep(p *pool.Pool, m, n, k, part int, a, b Matrix, c, work []float32) {
	if part%gemmKC != 0 || part == 0 {
		panic("kernel: GemmDeep with parts that are no multiples of a block")
	}
	parts := ceilDiv(k, part)
	if parts <= 1 {
		Gemm(p, m, n, k, a, b, c, n, false, nil)
		return
	}
	j := takeJob(p.Threads())
	j.part = part
	work = work[:parts*m*n] // a small batch has fewer parts than work has room for
	j.multiply(p, gemmPaths[path], gemmKC, m, n, k, a, b, work, n, false, nil)
	j.deep.c, j.deep.parts, j.deep.size = c[:m*n], work, m*n
	p.Run(ceilDiv(m*n, deepBlock), j.deep.run)
	j.release()
}

// GemmDeepWork returns the floats of work that GemmDeep needs.
func GemmDeepWork(m, n, k, part int) int {
	if parts := ceilDiv(k, part); parts > 1 {
		return parts * m * n
	}
	return 0
}

// add adds a block of the partial sums.
func (d *deepJob) add(task, _ int) {
	lo, hi := task*deepBlock, min((task+1)*deepBlock, d.size)
	sum := d.c[lo:hi]
	Add(sum, d.parts[lo:hi], d.parts[d.size+lo:d.size+hi])
	for at := 2 * d.size; at < len(d.parts); at += d.size {
		Accumulate(sum, d.parts[at+lo:at+hi])
	}
}
