package fakecard

import (
	"fmt"
	"math"
	"time"
	"unsafe"

	"sdnn/nn/cuda/driver"
)

// workspaceBytes is what products and convolutions ask for, if they may.
const workspaceBytes = 512

// plan is an open product or convolution.
type plan struct {
	c         *Card
	name      string
	workspace int
	dst, a, b int // bytes of the operands
	bias      int
	cost      time.Duration
	run       func(dst, a, b, bias span)
}

// open registers a plan.
func (c *Card) open(p *plan, limit int) {
	p.c, p.workspace = c, max(0, min(workspaceBytes, limit))
	c.plans[p] = p.name
}

// candidate makes a plan that of a candidate; the first has no number in its name.
func (p *plan) candidate(i int) error {
	if i < 0 || i >= candidates {
		return fmt.Errorf("%s, candidate %d: %w", p.name, i, driver.ErrNoCandidate)
	}
	p.cost = candidateTime(p.name, i)
	if i > 0 {
		p.name = fmt.Sprintf("%s#%d", p.name, i)
	}
	return nil
}

// Workspace implements driver.Matmul and driver.Conv.
func (p *plan) Workspace() int { return p.workspace }

// Close implements driver.Matmul and driver.Conv.
func (p *plan) Close() error {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if _, ok := p.c.plans[p]; !ok {
		return p.c.invalid("Close", "%s is closed already", p.name)
	}
	delete(p.c.plans, p)
	return nil
}

// queue checks the operands and queues the work.
func (p *plan) queue(call string, dst, a, b, bias, workspace driver.Ptr, accumulate bool, h driver.Stream) error {
	c := p.c
	err := c.begin(call)
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream(call, h)
	if err != nil {
		return err
	}
	if _, ok := c.plans[p]; !ok {
		return c.invalid(call, "%s is closed", p.name)
	}
	place := func(q driver.Ptr) string { return c.memory.place(uintptr(q)) }
	c.note("%s %s %s %s %s %s %s", p.name, s.name, place(dst), place(a), place(b), place(bias), place(workspace))
	var spans [5]span
	for i, o := range []struct {
		p    driver.Ptr
		size int
		name string
	}{{dst, p.dst, "the result"}, {a, p.a, "the first factor"}, {b, p.b, "the second factor"}, {bias, p.bias, "the bias"}, {workspace, p.workspace, "the workspace"}} {
		if o.size == 0 {
			continue
		}
		if spans[i], err = c.memory.find(uintptr(o.p), o.size, false); err != nil {
			return c.invalid(call, "%s: %s is %v", p.name, o.name, err)
		}
		if o.p%4 != 0 && o.size%4 == 0 {
			return c.invalid(call, "%s: %s is not aligned", p.name, o.name)
		}
	}
	o := &op{name: p.name, cost: p.cost, reads: []span{spans[1], spans[2]}, writes: []span{spans[0]}}
	if p.bias > 0 {
		o.reads = append(o.reads, spans[3])
	}
	if p.workspace > 0 {
		o.writes = append(o.writes, spans[4])
	}
	for _, r := range o.reads {
		if r.b == spans[0].b && r.lo < spans[0].hi && spans[0].lo < r.hi {
			return c.invalid(call, "%s: the result %v overlaps %v", p.name, spans[0], r)
		}
	}
	if !c.options.CheckOnly {
		o.run = func() error { p.run(spans[0], spans[1], spans[2], spans[3]); return nil }
	}
	return c.enqueue(s, o)
}

type matmul struct {
	plan
	spec driver.MatmulSpec
}

// PlanMatmul implements driver.Card.
func (c *Card) PlanMatmul(spec driver.MatmulSpec, limit int) (driver.Matmul, error) {
	err := c.begin("PlanMatmul")
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if spec.M < 1 || spec.N < 1 || spec.K < 1 {
		return nil, c.invalid("PlanMatmul", "%+v", spec)
	}
	m := &matmul{spec: spec}
	m.name = fmt.Sprintf("matmul %dx%dx%d", spec.M, spec.N, spec.K)
	if err := m.candidate(spec.Candidate); err != nil {
		return nil, err
	}
	m.dst, m.a, m.b = spec.M*spec.N*spec.D.Size(), spec.M*spec.K*spec.AB.Size(), spec.K*spec.N*spec.AB.Size()
	if spec.Epilogue != driver.EpilogueNone {
		m.bias = spec.N * spec.Bias.Size()
	}
	m.plan.run = m.compute
	c.open(&m.plan, limit)
	c.note("plan %s %+v", m.name, spec)
	return m, nil
}

// Run implements driver.Matmul.
func (m *matmul) Run(d, a, b, bias, workspace driver.Ptr, s driver.Stream) error {
	return m.queue("Matmul.Run", d, a, b, bias, workspace, m.spec.Accumulate, s)
}

func (m *matmul) compute(dst, a, b, bias span) {
	s := m.spec
	fa, fb := factor(a, s.AB, s.Math), factor(b, s.AB, s.Math)
	var add []float32
	if s.Epilogue != driver.EpilogueNone {
		add = factor(bias, s.Bias, driver.MathF32)
	}
	row := make([]float32, s.N)
	for i := range s.M {
		clear(row)
		for k := range s.K {
			v := fa[at(i, k, s.M, s.K, s.TransA)]
			if v == 0 {
				continue
			}
			for j := range row {
				row[j] += v * fb[at(k, j, s.K, s.N, s.TransB)]
			}
		}
		for j, v := range row {
			if add != nil {
				v += add[j]
			}
			if s.Epilogue == driver.EpilogueBiasReLU {
				v = max(v, 0)
			}
			if s.Accumulate {
				v += get(dst, s.D, i*s.N+j)
			}
			put(dst, s.D, i*s.N+j, v)
		}
	}
}

// at is the place of element (i, j) of a rows x columns matrix, which is stored
// transposed if trans.
func at(i, j, rows, columns int, trans bool) int {
	if trans {
		return j*rows + i
	}
	return i*columns + j
}

// factor reads an operand as it goes into a product.
func factor(s span, t driver.Type, m driver.Math) []float32 {
	out := make([]float32, (s.hi-s.lo)/t.Size())
	for i := range out {
		out[i] = get(s, t, i)
		if m == driver.MathTF32 && t == driver.F32 {
			out[i] = tf32(out[i])
		}
	}
	return out
}

// get reads element i of a span.
func get(s span, t driver.Type, i int) float32 {
	if t == driver.BF16 {
		return math.Float32frombits(uint32(*(*uint16)(unsafe.Pointer(&s.b.data[s.lo+2*i]))) << 16)
	}
	return *(*float32)(unsafe.Pointer(&s.b.data[s.lo+4*i]))
}

// put writes element i of a span.
func put(s span, t driver.Type, i int, v float32) {
	if t == driver.BF16 {
		*(*uint16)(unsafe.Pointer(&s.b.data[s.lo+2*i])) = BF16(v)
		return
	}
	*(*float32)(unsafe.Pointer(&s.b.data[s.lo+4*i])) = v
}

// BF16 rounds to the nearest bf16, ties to even; NaN stays NaN.
func BF16(f float32) uint16 {
	u := math.Float32bits(f)
	if u&0x7fffffff > 0x7f800000 {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// tf32 rounds to 10 bits of mantissa.
func tf32(f float32) float32 {
	u := math.Float32bits(f)
	if u&0x7f800000 == 0x7f800000 {
		return f
	}
	return math.Float32frombits((u + 0xfff + u>>13&1) &^ 0x1fff)
}
