package fakecard

import (
	"fmt"

	"sdnn/nn/cuda/driver"
)

type conv struct {
	plan
	spec driver.ConvSpec
}

// PlanConv implements driver.Card. All operands are of the spec's type, the
// gradient of the weights too.
func (c *Card) PlanConv(spec driver.ConvSpec) (driver.Conv, error) {
	err := c.begin("PlanConv")
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s := spec
	if s.N < 1 || s.C < 1 || s.O < 1 || s.K < 1 || s.Stride < 1 || s.Pad < 0 || s.OutHeight() < 1 || s.OutWidth() < 1 {
		return nil, c.invalid("PlanConv", "%+v", spec)
	}
	v := &conv{spec: spec}
	v.name = fmt.Sprintf("conv %s %dx%dx%dx%d %dx%d/%d", []string{"forward", "backward-data", "backward-weight"}[s.Direction], s.N, s.H, s.W, s.C, s.O, s.K, s.Stride)
	if err := v.candidate(s.Candidate); err != nil {
		return nil, err
	}
	size := s.Type.Size()
	x, w, y := s.N*s.H*s.W*s.C*size, s.O*s.K*s.K*s.C*size, s.N*s.OutHeight()*s.OutWidth()*s.O*size
	switch s.Direction {
	case driver.Forward:
		v.dst, v.a, v.b, v.plan.run = y, x, w, v.forward
	case driver.BackwardData:
		v.dst, v.a, v.b, v.plan.run = x, y, w, v.backwardData
	case driver.BackwardWeight:
		v.dst, v.a, v.b, v.plan.run = w, y, x, v.backwardWeight
	}
	c.open(&v.plan, s.WorkspaceLimit)
	c.note("plan %s %+v", v.name, spec)
	return v, nil
}

// Run implements driver.Conv.
func (v *conv) Run(dst, a, b, workspace driver.Ptr, s driver.Stream) error {
	return v.queue("Conv.Run", dst, a, b, 0, workspace, false, s)
}

// each calls f for every pair of an output position and an input position that
// it sees: where their channels begin, and where the tap's weights of channel 0
// of output 0 are.
func (v *conv) each(f func(y, x, w int)) {
	s := v.spec
	for n := range s.N {
		for oy := range s.OutHeight() {
			for ox := range s.OutWidth() {
				y := ((n*s.OutHeight()+oy)*s.OutWidth() + ox) * s.O
				for ky := range s.K {
					for kx := range s.K {
						iy, ix := oy*s.Stride+ky-s.Pad, ox*s.Stride+kx-s.Pad
						if iy >= 0 && iy < s.H && ix >= 0 && ix < s.W {
							f(y, ((n*s.H+iy)*s.W+ix)*s.C, (ky*s.K+kx)*s.C)
						}
					}
				}
			}
		}
	}
}

func (v *conv) forward(dst, x, w, _ span) {
	s := v.spec
	fx, fw, y := factor(x, s.Type, s.Math), factor(w, s.Type, s.Math), make([]float32, v.dst/s.Type.Size())
	v.each(func(yi, xi, wi int) {
		in := fx[xi : xi+s.C]
		for o := range s.O {
			row := fw[o*s.K*s.K*s.C+wi:][:s.C]
			sum := float32(0)
			for c, u := range in {
				sum += u * row[c]
			}
			y[yi+o] += sum
		}
	})
	putAll(dst, s.Type, y)
}

func (v *conv) backwardData(dst, dy, w, _ span) {
	s := v.spec
	fy, fw, dx := factor(dy, s.Type, s.Math), factor(w, s.Type, s.Math), make([]float32, v.dst/s.Type.Size())
	v.each(func(yi, xi, wi int) {
		out := dx[xi : xi+s.C]
		for o := range s.O {
			d, row := fy[yi+o], fw[o*s.K*s.K*s.C+wi:][:s.C]
			for c := range out {
				out[c] += d * row[c]
			}
		}
	})
	putAll(dst, s.Type, dx)
}

func (v *conv) backwardWeight(dst, dy, x, _ span) {
	s := v.spec
	fy, fx, dw := factor(dy, s.Type, s.Math), factor(x, s.Type, s.Math), make([]float32, v.dst/s.Type.Size())
	v.each(func(yi, xi, wi int) {
		in := fx[xi : xi+s.C]
		for o := range s.O {
			d, row := fy[yi+o], dw[o*s.K*s.K*s.C+wi:][:s.C]
			for c, u := range in {
				row[c] += d * u
			}
		}
	})
	putAll(dst, s.Type, dw)
}

func putAll(dst span, t driver.Type, v []float32) {
	for i, f := range v {
		put(dst, t, i, f)
	}
}
