package main

import (
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { family("chan", chanKernels) }

// chanKernels writes the passes of batch normalisation; see chan.go.
func chanKernels(f *vecFile) {
	f.fn("chanSum", "func(acc, x []float32, rows, c int)", (*kern).chanSum)
	f.fn("chanMoments", "func(acc, x, pivot []float32, rows, c int)", (*kern).chanMoments)
	const affine = "func(y, x, coef []float32, rows, c int)"
	f.fn("chanAffine", affine, func(k *kern) { k.chanAffine(false) })
	f.fn("chanAffineReLU", affine, func(k *kern) { k.chanAffine(true) })
	const sums = "func(acc, dy, x, coef []float32, rows, c int)"
	f.fn("chanGradSums", sums, func(k *kern) { k.chanGradSums(false) })
	f.fn("chanGradSumsReLU", sums, func(k *kern) { k.chanGradSums(true) })
	const grad = "func(dx, dy, x, coef []float32, rows, c int)"
	f.fn("chanGrad", grad, func(k *kern) { k.chanGrad(false, "") })
	f.fn("chanGradReLU", grad, func(k *kern) { k.chanGrad(true, "") })
	f.fn("chanGradReLUAdd", "func(dx, dy, x, r, coef []float32, rows, c int)", func(k *kern) { k.chanGrad(true, "r") })
}

// quad is the number of rows that share the loads of what belongs to a channel.
const quad = 4

// grid walks over matrices of rows x c, channels innermost, in cells of a
// register's width of channels and of four rows or one:
//
//	row 0   | cell: 4 x 16 | cell | ... | masked |
//	row 1   |              |      |     |        |
//	row 2   |              |      |     |        |
//	row 3   |______________|______|_____|________|
//	row 4   | 1 x 16       | ...                    rows that are left over
//
// Every channel sees its rows in order, whatever the width of a register.
type grid struct {
	k        *kern
	walk     []Register // pointers into matrices, which go on from row to row
	again    []Register // pointers to what belongs to channels, the same for every row
	rows     Register   // left to do
	rest     Register   // channels of the masked cell
	stride   Register   // bytes of a row
	stride3  Register   // of three rows
	blocks   Mem        // whole blocks of a row
	full     Mem        // their bytes
	tail     mask       // AVX-512
	tailPart func(part int) mask
}

// fetchDistance is how many bytes ahead of its rows a walk over memory fetches.
const fetchDistance = 2048

// fetch fetches for a cell what lies ahead of p: as many lines as it has rows
// there, in the order of memory. The rows of a cell are some hundred bytes apart,
// and in streams that end with a row the processor reads nothing ahead itself.
// skew is by how much the lines fetched outrun p, which goes on by one line a
// cell: the lines of the other rows, of the cells before.
func (g *grid) fetch(skew, p Register, rows int) {
	for j := range rows {
		m := Mem{Base: p, Disp: fetchDistance + j*blockBytes}
		if rows > 1 {
			m.Index, m.Scale = skew, 1
		}
		PREFETCHT0(m)
	}
}

// newGrid loads rows and c; the pointers are those of the named slices.
func newGrid(k *kern, walk, again []string) *grid {
	g := &grid{k: k, rows: GP64(), rest: GP64(), stride: GP64(), stride3: GP64(), blocks: AllocLocal(8), full: AllocLocal(8)}
	for _, name := range walk {
		g.walk = append(g.walk, slice(name))
	}
	for _, name := range again {
		g.again = append(g.again, slice(name))
	}
	c := GP64()
	Load(Param("c"), c)
	Load(Param("rows"), g.rows)
	MOVQ(c, g.stride)
	SHLQ(Imm(2), g.stride)
	LEAQ(Mem{Base: g.stride, Index: g.stride, Scale: 2}, g.stride3)
	MOVQ(c, g.rest)
	ANDQ(Imm(blockLen-1), g.rest)
	SHRQ(Imm(4), c)
	MOVQ(c, g.blocks)
	SHLQ(Imm(6), c)
	MOVQ(c, g.full)
	g.tailPart = k.tailMasks(g.rest, 1)
	if k.wide {
		g.tail = g.tailPart(0)
	}
	return g
}

// cell is where a body works: some channels of one row or four.
type cell struct {
	g    *grid
	part int
	rows int
	mask mask // of the channels that exist; nil: all
}

// mem is the address of the cell's channels in a row of a matrix.
func (c *cell) mem(p Register, row int) Mem {
	m := Mem{Base: p, Disp: c.part * c.g.k.width()}
	switch row {
	case 0:
	case 3:
		m.Index, m.Scale = c.g.stride3, 1
	default: // 1, 2, 4
		m.Index, m.Scale = c.g.stride, uint8(row)
	}
	return m
}

// load loads a row of the cell, zeros where there are no channels.
func (c *cell) load(p Register, row int) VecVirtual {
	r := c.g.k.vec()
	switch m := c.mem(p, row); {
	case c.mask == nil:
		VMOVUPS(m, r)
	case c.g.k.wide:
		VMOVUPS_Z(m, c.mask, r)
	default:
		VMASKMOVPS(m, c.mask, r)
	}
	return r
}

// store stores a row of the cell, channels that exist alone.
func (c *cell) store(v VecVirtual, p Register, row int) {
	switch m := c.mem(p, row); {
	case c.mask == nil:
		VMOVUPS(v, m)
	case c.g.k.wide:
		VMOVUPS(v, c.mask, m)
	default:
		VMASKMOVPS(v, c.mask, m)
	}
}

// columns writes the loop over the channels of the given number of rows. After
// it the walking pointers are one row further. together lists how many rows of
// each walking pointer are taken at once; nil: nothing is fetched ahead.
func (g *grid) columns(rows int, together []int, body func(c *cell)) {
	k := g.k
	loop, tail, next := k.label("columns"), k.label("rest"), k.label("next")
	left := GP64()
	MOVQ(g.blocks, left)
	TESTQ(left, left)
	JE(LabelRef(tail))
	var skew Register
	if together != nil {
		skew = GP64()
		XORQ(skew, skew)
	}
	Label(loop)
	for i, n := range together {
		g.fetch(skew, g.walk[i], n)
	}
	if together != nil {
		ADDQ(immediate((slices.Max(together)-1)*blockBytes), skew)
	}
	for p := range k.parts() {
		body(&cell{g: g, part: p, rows: rows})
	}
	for _, p := range append(g.walk[:len(g.walk):len(g.walk)], g.again...) {
		ADDQ(Imm(blockBytes), p)
	}
	DECQ(left)
	JNE(LabelRef(loop))
	Label(tail)
	TESTQ(g.rest, g.rest)
	JE(LabelRef(next))
	for p := range k.parts() {
		m := g.tail
		if !k.wide {
			m = g.tailPart(p)
		}
		body(&cell{g: g, part: p, rows: rows, mask: m})
	}
	for _, p := range g.walk {
		LEAQ(Mem{Base: p, Index: g.rest, Scale: 4}, p)
	}
	Label(next)
	for _, p := range g.again {
		SUBQ(g.full, p)
	}
}

// run writes the loop over all rows.
func (g *grid) run(body func(c *cell)) {
	SUBQ(Imm(quad), g.rows)
	JL(LabelRef("few"))
	Label("quad")
	g.columns(quad, slices.Repeat([]int{quad}, len(g.walk)), body)
	for _, p := range g.walk {
		ADDQ(g.stride3, p)
	}
	SUBQ(Imm(quad), g.rows)
	JGE(LabelRef("quad"))
	Label("few")
	ADDQ(Imm(quad), g.rows)
	JE(LabelRef("done"))
	Label("single")
	g.columns(1, nil, body)
	DECQ(g.rows)
	JNE(LabelRef("single"))
	Label("done")
}

// pairwise adds up the rows of a cell in two sums, even and odd rows, so that
// the additions do not wait for one another: term(row, acc) adds a row's term
// to acc, or returns it where acc is nil.
func (c *cell) pairwise(term func(row int, acc VecVirtual) VecVirtual) VecVirtual {
	if c.rows == 1 {
		return term(0, nil)
	}
	even, odd := term(0, nil), term(1, nil)
	even, odd = term(2, even), term(3, odd)
	return c.g.k.add(even, odd)
}

// plus adds v to a row of what belongs to channels.
func (c *cell) plus(v VecVirtual, p Register, row int) { c.store(c.g.k.add(v, c.load(p, row)), p, row) }

// fused returns x*a + b in x's register.
func (k *kern) fused(x, a, b Op) VecVirtual { VFMADD213PS(b, a, x); return x.(VecVirtual) }

func (k *kern) chanSum() {
	g := newGrid(k, []string{"x"}, []string{"acc"})
	x, acc := g.walk[0], g.again[0]
	g.run(func(c *cell) {
		c.plus(c.pairwise(func(row int, sum VecVirtual) VecVirtual {
			v := c.load(x, row)
			if sum != nil {
				return k.add(sum, v)
			}
			return v
		}), acc, 0)
	})
}

func (k *kern) chanMoments() {
	g := newGrid(k, []string{"x"}, []string{"acc", "pivot"})
	x, acc, pivots := g.walk[0], g.again[0], g.again[1]
	g.run(func(c *cell) {
		pivot := c.load(pivots, 0)
		var squares [2]VecVirtual
		sum := c.pairwise(func(row int, sum VecVirtual) VecVirtual {
			d := k.sub(c.load(x, row), pivot)
			k.product(&squares[row%2], d, d)
			if sum != nil {
				return k.add(sum, d)
			}
			return d
		})
		c.plus(sum, acc, 0)
		c.plus(k.total(squares), acc, 1)
	})
}

// product adds a*b to acc, or sets it where it is nil.
func (k *kern) product(acc *VecVirtual, a, b Op) {
	if *acc == nil {
		*acc = k.mul(a, b)
	} else {
		k.fma(*acc, a, b)
	}
}

// total is the sum of a pair of accumulators, of which the second may be nil.
func (k *kern) total(acc [2]VecVirtual) VecVirtual {
	if acc[1] == nil {
		return acc[0]
	}
	return k.add(acc[0], acc[1])
}

// chanAffine takes the rows scale and shift of coef.
func (k *kern) chanAffine(relu bool) {
	g := newGrid(k, []string{"x", "y"}, []string{"coef"})
	x, y, coef := g.walk[0], g.walk[1], g.again[0]
	zero := k.vec()
	k.zero(zero)
	g.run(func(c *cell) {
		scale, shift := c.load(coef, 0), c.load(coef, 1)
		for row := range c.rows {
			v := k.fused(c.load(x, row), scale, shift)
			if relu {
				v = k.max(zero, v)
			}
			c.store(v, y, row)
		}
	})
}

// chanGradSums takes the row mean of coef and, behind a ReLU, scale and shift.
func (k *kern) chanGradSums(relu bool) {
	g := newGrid(k, []string{"dy", "x"}, []string{"acc", "coef"})
	dy, x, acc, coef := g.walk[0], g.walk[1], g.again[0], g.again[1]
	zero := k.vec()
	k.zero(zero)
	g.run(func(c *cell) {
		mean := c.load(coef, 0)
		var scale, shift VecVirtual
		if relu {
			scale, shift = c.load(coef, 1), c.load(coef, 2)
		}
		var dots [2]VecVirtual
		sum := c.pairwise(func(row int, sum VecVirtual) VecVirtual {
			v, d := c.load(x, row), c.load(dy, row)
			if relu {
				d = k.where(k.compare(greaterThan, k.fused(k.copyOf(v), scale, shift), zero), d)
			}
			k.product(&dots[row%2], d, k.sub(v, mean))
			if sum != nil {
				return k.add(sum, d)
			}
			return d
		})
		c.plus(sum, acc, 0)
		c.plus(k.total(dots), acc, 1)
	})
}

// chanGrad takes the rows a, b and c of coef, before them scale and shift
// where a ReLU follows; residual names a matrix to add.
func (k *kern) chanGrad(relu bool, residual string) {
	walk := []string{"dx", "dy", "x"}
	if residual != "" {
		walk = append(walk, residual)
	}
	g := newGrid(k, walk, []string{"coef"})
	dx, dy, x, coef := g.walk[0], g.walk[1], g.walk[2], g.again[0]
	zero := k.vec()
	k.zero(zero)
	g.run(func(c *cell) {
		first := 0
		var scale, shift VecVirtual
		if relu {
			scale, shift, first = c.load(coef, 0), c.load(coef, 1), 2
		}
		fy, fx, f1 := c.load(coef, first), c.load(coef, first+1), c.load(coef, first+2)
		for row := range c.rows {
			v, d := c.load(x, row), c.load(dy, row)
			if relu {
				d = k.where(k.compare(greaterThan, k.fused(k.copyOf(v), scale, shift), zero), d)
			}
			v = k.fused(v, fx, f1)
			k.fma(v, d, fy)
			if residual != "" {
				v = k.add(v, c.load(g.walk[3], row))
			}
			c.store(v, dx, row)
		}
	})
}
